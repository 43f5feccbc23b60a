//! The gateway's own events: what the runbooks look for finds what they mean and nothing else, and nobody floods the log.

use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use e2e::{
    Backend, Client, Gateway, Next, Origin, Setup, Signal, Watch, answer, ask_with, both_drivers,
    eventually, get, get_with, ok,
};

both_drivers!(
    an_ordinary_life_is_found_by_no_runbook,
    who_is_refused_is_found_among_those_and_not_among_errors,
    what_failed_is_found_among_errors,
    a_flood_of_refusals_is_told_in_a_few_lines_and_counted_whole,
    events_are_counted_from_the_start,
);

/// What the first runbook pipes the log into.
const ERRORS: &[&str] = &["-i", "error"];
const REFUSALS: &[&str] = &["-i", "auth\\|unauthorized\\|forbidden"];

/// The lines that the real program finds in the log.
fn grep(gateway: &Gateway, words: &[&str]) -> Vec<String> {
    let mut child = Command::new("grep")
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("grep runs");
    let mut input = child.stdin.take().expect("piped");
    let log = gateway.output();
    input.write_all(log.as_bytes()).expect("grep reads");
    drop(input);
    let output = child.wait_with_output().expect("grep ends");
    let text = String::from_utf8(output.stdout).expect("text");
    text.lines().map(str::to_owned).collect()
}

fn lines(gateway: &Gateway, event: &str) -> Vec<String> {
    let event = format!("event=\"{event}\"");
    let log = gateway.output();
    let lines = log.lines().filter(|line| line.contains(&event));
    lines.map(str::to_owned).collect()
}

fn an_ordinary_life_is_found_by_no_runbook(backend: Backend) {
    let origin = Origin::start(|request, wire| {
        wire.send(match request.target.as_str() {
            "/401" => answer(401, "", "unauthorized"),
            "/403" => answer(403, "", "forbidden"),
            "/500" => answer(500, "", "error"),
            _ => ok("Cache-Control: max-age=60\r\n", "x"),
        });
        Next::Keep
    });
    let mut gateway = Gateway::before(&origin, backend);
    let mut client = gateway.client();
    for target in ["/a", "/a", "/401", "/403", "/500", "/error", "/auth"] {
        client.ask(get(target));
    }
    gateway.ask("GET / HTTP/9\r\n\r\n");
    gateway.signal(Signal::HUP);
    eventually("the file was read again", || {
        !lines(&gateway, "config_checked").is_empty()
    });
    gateway.signal(Signal::TERM);
    assert_eq!(gateway.end(), Some(0));
    eventually("the end was told", || {
        !lines(&gateway, "stopped").is_empty() || !lines(&gateway, "drained").is_empty()
    });
    let found = [grep(&gateway, ERRORS), grep(&gateway, REFUSALS)].concat();
    assert_eq!(found, [""; 0], "{}", gateway.output());
}

/// A file of its own with a token in it, and what a request brings that knows it.
const TOKEN: &str = "0123456789abcdef0123456789abcdef";

struct TokenFile(PathBuf);

impl TokenFile {
    fn new(name: &str, backend: Backend) -> TokenFile {
        let own = format!(
            "ultragate-e2e-{name}-{}-{}",
            backend.name(),
            std::process::id()
        );
        let path = std::env::temp_dir().join(own);
        fs::write(&path, TOKEN).expect("there is room for a file");
        TokenFile(path)
    }
}

impl Drop for TokenFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// A gateway whose operator port asks for the token, and where that port is.
fn guarded(file: &TokenFile, backend: Backend) -> (Gateway, SocketAddr) {
    let gateway = Setup::new(backend)
        .set("listen", "operator", "\"0.0.0.0:0\"")
        .set("admin", "token_file", format!("{:?}", file.0))
        .start();
    let operator = ([127, 0, 0, 1], gateway.operator.port()).into();
    (gateway, operator)
}

fn who_is_refused_is_found_among_those_and_not_among_errors(backend: Backend) {
    let file = TokenFile::new("refused", backend);
    let (gateway, operator) = guarded(&file, backend);
    let right = get_with(
        "/admin/stats",
        &format!("Authorization: Bearer {TOKEN}\r\n"),
    );
    assert_eq!(Client::connect(operator).ask(right).status, 200);
    assert_eq!(grep(&gateway, REFUSALS), [""; 0]);

    let mut client = Client::connect(operator);
    let wrong = get_with("/admin/stats", "Authorization: Bearer wrong\r\n");
    assert_eq!(client.ask(wrong).status, 401);
    let from = client.socket().local_addr().expect("an address");
    let warm = ask_with("POST", "/admin/cache/warm", "Content-Length: 0\r\n");
    assert_eq!(gateway.ask(warm).status, 403);
    let page = Setup::new(backend).start();
    let post = ask_with(
        "POST",
        "/admin/drain",
        "Origin: http://page.test\r\nContent-Length: 0\r\n",
    );
    assert_eq!(Client::connect(page.operator).ask(post).status, 403);

    eventually("both ports have told", || {
        grep(&gateway, REFUSALS).len() == 2
    });
    let found = grep(&gateway, REFUSALS);
    for (line, parts) in found.iter().zip([
        [
            "event=\"unauthorized\"".into(),
            format!("peer={from} path=\"/admin/stats\""),
        ],
        [
            "event=\"forbidden\"".into(),
            "port=\"data\" requests=1".into(),
        ],
    ]) {
        assert!(
            parts.iter().all(|part: &String| line.contains(part)),
            "{line}"
        );
    }
    let found = grep(&page, REFUSALS);
    assert!(
        found.len() == 1 && found[0].contains("path=\"/admin/drain\""),
        "{found:?}"
    );
    assert_eq!(grep(&gateway, ERRORS), [""; 0], "{}", gateway.output());
}

fn what_failed_is_found_among_errors(backend: Backend) {
    let gateway = Setup::new(backend)
        .everything_to(([127, 0, 0, 1], 9).into(), "")
        .start();
    eventually("the origin is missed", || {
        let found = grep(&gateway, ERRORS);
        found.len() == 1 && found[0].contains("component=\"upstream:origin\"")
    });
    assert_eq!(grep(&gateway, REFUSALS), [""; 0]);
    // What keeps it from starting is found as well.
    let taken = gateway.data;
    let ended = Setup::new(backend)
        .set("listen", "data", format!("\"{taken}\""))
        .fail();
    let mut errors = ended.output.lines().filter(|line| line.contains("ERROR"));
    let line = errors.next().unwrap_or_default();
    assert!(
        line.contains("event=\"failed\"") && line.contains(&taken.to_string()),
        "{}",
        ended.output
    );
}

fn a_flood_of_refusals_is_told_in_a_few_lines_and_counted_whole(backend: Backend) {
    const FLOOD: usize = 1_000;
    let file = TokenFile::new("flood", backend);
    let (gateway, operator) = guarded(&file, backend);
    let mut client = Client::connect(operator);
    for _ in 0..FLOOD / 10 {
        client.send(get("/admin/stats").repeat(10));
        for _ in 0..10 {
            assert_eq!(client.response().status, 401);
        }
    }
    let left_out = || {
        let told = lines(&gateway, "suppressed");
        let of_these = told
            .iter()
            .filter(|line| line.contains("of=\"unauthorized\""));
        let counts = of_these.filter_map(|line| {
            let count = line.split("count=").nth(1)?;
            count.split(' ').next()?.parse::<usize>().ok()
        });
        counts.sum::<usize>()
    };
    eventually("what was left out is told", || {
        lines(&gateway, "unauthorized").len() + left_out() == FLOOD
    });
    assert!(left_out() > 0);
    let mut watch = Watch::of(&gateway);
    let labels = ["event=\"unauthorized\"", "level=\"warn\""];
    let counted = watch.sample("log_events_total", &labels);
    assert_eq!(counted.to_string(), FLOOD.to_string());
    let counted = watch.sample("log_events_suppressed_total", &[]);
    assert_eq!(counted.to_string(), left_out().to_string());
}

fn events_are_counted_from_the_start(backend: Backend) {
    let gateway = Setup::new(backend).start();
    let text = Watch::of(&gateway).exposition();
    for (event, count) in [
        ("panic", 0),
        ("unauthorized", 0),
        ("bound", 3),
        ("started", 1),
    ] {
        let line = text
            .lines()
            .find(|line| line.contains(&format!("event=\"{event}\"")));
        let line = line.unwrap_or_default();
        assert!(line.ends_with(&format!(" {count}")), "{event}: {line:?}");
    }
}
