//! A line for every request, or for one in so many: what it says, where it goes, and that nobody waits for it.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use e2e::{
    Backend, Gate, Gateway, Next, Origin, Setup, Signal, Watch, becomes, both_drivers, eventually,
    get, get_with, ok,
};
use serde_json::Value;

both_drivers!(
    a_line_says_what_was_asked_and_where_its_time_went,
    one_in_so_many_gets_a_line_and_every_failure,
    pipelined_requests_get_a_line_each,
    what_is_no_request_and_who_gives_up_get_lines,
    combined_lines_are_what_other_tools_read,
    a_rotated_file_is_left_for_a_new_one,
    a_full_disk_costs_lines_and_nothing_else,
    a_reader_that_stalls_costs_lines_and_nothing_else,
    nobody_waits_for_the_reader_of_a_pipe,
    what_a_drain_cuts_off_gets_a_line,
    the_last_lines_are_written_before_the_end,
);

/// A directory for logs, gone with the story.
struct Place(PathBuf);

impl Place {
    fn new() -> Place {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("ultragate-e2e-log-{}-{number}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        fs::create_dir_all(&directory).expect("the directory is made");
        Place(directory)
    }

    /// With a pipe in the file's place.
    fn piped() -> Place {
        let place = Place::new();
        let made = Command::new("mkfifo").arg(place.file()).status();
        assert!(made.is_ok_and(|status| status.success()));
        place
    }

    fn file(&self) -> PathBuf {
        self.0.join("access.log")
    }

    fn lines(&self) -> Vec<String> {
        let text = fs::read_to_string(self.file()).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// The lines, once there are as many.
    fn read(&self, count: usize) -> Vec<Value> {
        let written = becomes(e2e::PATIENCE, || self.lines().len() >= count);
        assert!(written, "{count} lines are written: {:?}", self.lines());
        let lines = self.lines();
        assert_eq!(lines.len(), count, "{lines:?}");
        let read = |line: &String| serde_json::from_str(line).expect("it is JSON");
        lines.iter().map(read).collect()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn origin() -> Origin {
    Origin::start(|request, wire| {
        match request.target.as_str() {
            "/broken" => wire.send("HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"),
            "/large" => wire.send(ok("Cache-Control: max-age=60\r\n", "x".repeat(200_000))),
            _ => wire.send(ok("Cache-Control: max-age=60\r\n", "hello")),
        };
        Next::Keep
    })
}

fn logging(origin: &Origin, backend: Backend, shape: &str, path: &str) -> Setup {
    Setup::new(backend)
        .everything_to(origin.address(), "")
        .set("telemetry", "access_log", format!("\"{shape}\""))
        .set("telemetry", "access_log_path", format!("\"{path}\""))
}

fn to(place: &Place, origin: &Origin, backend: Backend) -> Gateway {
    logging(origin, backend, "json", &place.file().display().to_string()).start()
}

fn a_line_says_what_was_asked_and_where_its_time_went(backend: Backend) {
    let (place, origin) = (Place::new(), origin());
    let gateway = to(&place, &origin, backend);
    let mut client = gateway.client();
    let fields = "User-Agent: a \"b\" é\r\nReferer: http://t/from\r\nX-Request-Id: mine\r\n";
    client.ask(get_with("/a?q=1", fields));
    client.ask(get_with("/a?q=1", fields));
    client.ask(get("/large"));
    client.ask(get("/large"));
    let lines = place.read(4);
    for (line, cache) in lines.iter().zip(["miss", "hit", "miss", "hit"]) {
        assert_eq!(line["cache"], cache, "{line}");
        assert_eq!(line["status"], 200);
        assert_eq!(line["whole"], true);
        assert_eq!(line["client"], "127.0.0.1");
        assert_eq!(line["method"], "GET");
        assert_eq!(line["protocol"], "HTTP/1.1");
        let stages = line["stages_seconds"].as_object().expect("stages");
        let sum: f64 = stages.values().filter_map(Value::as_f64).sum();
        let all = line["duration_seconds"].as_f64().unwrap_or_default();
        assert!((sum - all).abs() < 1e-6 && all > 0.0, "{line}");
    }
    for line in &lines[..2] {
        assert_eq!(line["target"], "/a?q=1");
        assert_eq!(line["user_agent"], "a \"b\" é");
        assert_eq!(line["referer"], "http://t/from");
        assert_eq!(line["request_id"], "mine");
    }
    assert_eq!(lines[0]["upstream"], "origin");
    assert_eq!(lines[1]["upstream"], "");
    assert_eq!(lines[0]["key_hash"], lines[1]["key_hash"]);
    assert!(lines[3]["sent_bytes"].as_u64() > Some(200_000));
    assert_eq!(lines[3]["target"], "/large");
}

fn one_in_so_many_gets_a_line_and_every_failure(backend: Backend) {
    let (place, origin) = (Place::new(), origin());
    let path = place.file().display().to_string();
    let gateway = logging(&origin, backend, "json", &path)
        .set("telemetry", "access_log_one_in", "10")
        .start();
    let mut client = gateway.client();
    for _ in 0..100 {
        client.ask(get("/a"));
    }
    client.ask(get("/broken"));
    let lines = place.read(11);
    let failures = lines.iter().filter(|line| line["status"] == 500);
    assert_eq!(failures.count(), 1);
}

fn pipelined_requests_get_a_line_each(backend: Backend) {
    let (place, origin) = (Place::new(), origin());
    let gateway = to(&place, &origin, backend);
    let mut client = gateway.client();
    client.ask(get("/0"));
    let all: String = (1..=20)
        .map(|at| get(if at % 2 == 0 { "/0" } else { "/1" }))
        .collect();
    client.send(all);
    for _ in 0..20 {
        client.response();
    }
    let lines = place.read(21);
    for (at, line) in lines.iter().enumerate() {
        assert_eq!(
            line["target"],
            if at % 2 == 0 { "/0" } else { "/1" },
            "line {at}"
        );
    }
}

fn what_is_no_request_and_who_gives_up_get_lines(backend: Backend) {
    let place = Place::new();
    let gate = Gate::new();
    let held = gate.clone();
    let silent = Origin::start(move |request, wire| {
        if request.target == "/gone" {
            held.pass();
        }
        wire.send(ok("", "hello"));
        Next::Keep
    });
    let gateway = to(&place, &silent, backend);
    let mut wrong = gateway.client();
    wrong.send("GET /no HTTP/1.1\r\nHost: a b\r\n\r\n");
    assert_eq!(wrong.response().status, 400);
    let mut gone = gateway.client();
    gone.send(get("/quick"));
    gone.send(get("/gone"));
    eventually("the origin is asked", || silent.count() == 2);
    // With an answer unread: a reset.
    drop(gone);
    let mut lines = place.read(3);
    gate.open();
    lines.remove(1);
    assert_eq!(
        (&lines[0]["status"], &lines[0]["target"]),
        (&400.into(), &"/no".into())
    );
    assert_eq!(lines[0]["route"], "_invalid");
    assert_eq!(
        (&lines[1]["status"], &lines[1]["target"]),
        (&499.into(), &"/gone".into())
    );
    assert_eq!(lines[1]["whole"], false);
    assert_eq!(lines[1]["client"], "127.0.0.1");
}

fn combined_lines_are_what_other_tools_read(backend: Backend) {
    let (place, origin) = (Place::new(), origin());
    let path = place.file().display().to_string();
    let gateway = logging(&origin, backend, "combined", &path).start();
    gateway.ask(get_with("/a", "User-Agent: c \"d\"\r\n"));
    eventually("the line is written", || place.lines().len() == 1);
    let line = place.lines().remove(0);
    let (client, rest) = line.split_once(" - - [").expect("a date");
    let (date, rest) = rest.split_once("] ").expect("its end");
    assert_eq!(client, "127.0.0.1");
    assert_eq!(
        (date.len(), &date[2..3], &date[20..]),
        (26, "/", " +0000"),
        "{date}"
    );
    let (request, rest) = rest.split_at(21);
    assert_eq!(request, "\"GET /a HTTP/1.1\" 200");
    assert!(rest.ends_with(" \"-\" \"c \\x22d\\x22\""), "{rest}");
}

fn a_rotated_file_is_left_for_a_new_one(backend: Backend) {
    let (place, origin) = (Place::new(), origin());
    let gateway = to(&place, &origin, backend);
    gateway.ask(get("/before"));
    place.read(1);
    fs::rename(place.file(), place.0.join("old")).expect("it is moved");
    gateway.signal(Signal::USR1);
    eventually("there is a new file", || place.file().exists());
    gateway.ask(get("/after"));
    assert_eq!(place.read(1)[0]["target"], "/after");
}

fn a_full_disk_costs_lines_and_nothing_else(backend: Backend) {
    let origin = origin();
    let gateway = logging(&origin, backend, "json", "/dev/full").start();
    assert_eq!(gateway.ask(get("/a")).status, 200);
    let mut watch = Watch::of(&gateway);
    eventually("the line is counted as lost", || {
        watch.sample("access_log_dropped_total", &["reason=\"write\""]) > 0.0
    });
    eventually("it is said", || {
        gateway.output().contains("access_log_failing")
    });
    assert_eq!(gateway.ask(get("/a")).text(), "hello");
}

fn a_reader_that_stalls_costs_lines_and_nothing_else(backend: Backend) {
    let (place, origin) = (Place::piped(), origin());
    let gateway = to(&place, &origin, backend);
    let mut watch = Watch::of(&gateway);
    let mut client = gateway.client();
    let many = get("/a").repeat(100);
    let dropped = becomes(e2e::PATIENCE, || {
        client.send(&many);
        let answers = (0..100).map(|_| client.response());
        assert!(answers.into_iter().all(|answer| answer.text() == "hello"));
        watch.sample("access_log_dropped_total", &["reason=\"queue_full\""]) > 0.0
    });
    assert!(dropped, "lines are dropped where nobody takes them");
    assert!(watch.sample("queue_depth", &["queue=\"log\""]) > 0.0);
}

fn nobody_waits_for_the_reader_of_a_pipe(backend: Backend) {
    let (place, origin) = (Place::piped(), origin());
    let gateway = to(&place, &origin, backend);
    gateway.signal(Signal::USR1);
    assert_eq!(gateway.ask(get("/a")).text(), "hello");
    let mut watch = Watch::of(&gateway);
    eventually("the line is written", || {
        watch.sample("access_log_lines_total", &[]) > 0.0
    });
    let pipe = File::open(place.file()).expect("the pipe is there");
    let mut line = String::new();
    let read = BufReader::new(pipe).read_line(&mut line);
    assert!(read.is_ok() && line.contains("\"target\":\"/a\""), "{line}");
}

fn what_a_drain_cuts_off_gets_a_line(backend: Backend) {
    let place = Place::new();
    let gate = Gate::new();
    let held = gate.clone();
    let silent = Origin::start(move |_, _| {
        held.pass();
        Next::Close
    });
    let path = place.file().display().to_string();
    let mut gateway = logging(&silent, backend, "json", &path)
        .set("drain", "timeout", "\"100ms\"")
        .start();
    let mut client = gateway.client();
    client.send(get("/held"));
    eventually("the origin is asked", || silent.count() == 1);
    gateway.signal(Signal::TERM);
    assert_eq!(gateway.end(), Some(0));
    gate.open();
    let lines = place.read(1);
    assert_eq!(lines[0]["target"], "/held");
    assert_eq!(
        (&lines[0]["status"], &lines[0]["whole"]),
        (&499.into(), &false.into())
    );
}

fn the_last_lines_are_written_before_the_end(backend: Backend) {
    let (place, origin) = (Place::new(), origin());
    let mut gateway = to(&place, &origin, backend);
    let mut client = gateway.client();
    for _ in 0..50 {
        client.ask(get("/a"));
    }
    drop(client);
    gateway.signal(Signal::TERM);
    assert_eq!(gateway.end(), Some(0));
    assert_eq!(place.lines().len(), 50);
}

#[test]
fn a_log_that_cannot_be_opened_is_a_wrong_configuration() {
    let origin = origin();
    let ended = logging(&origin, Backend::Epoll, "json", "/no/such/place").fail();
    assert_eq!(ended.code, Some(78));
    assert!(
        ended
            .output
            .contains("the access log /no/such/place cannot be opened"),
        "{}",
        ended.output
    );
    assert!(ended.output.contains("access_log_path"), "{}", ended.output);
}
