//! The load generator against servers whose faults are known: it counts them, names who was the bottleneck, and refuses
//! to certify what it could not drive. Never about a time being short: this host may be busy.

mod support;

use std::io::Write;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use support::{Floor, alone, both_backends, command, pass, request, run, said, server};

#[test]
fn an_open_loop_sends_every_request_that_is_due() {
    both_backends(|backend| {
        let floor = Floor::start();
        for (arrivals, bounds) in [("constant", 2_000..=2_000), ("poisson", 1_700..=2_300)] {
            let ran = run(&format!(
                "-t2 -c16 -d2s -R1000 --arrivals {arrivals} --backend {backend} --timeout 30s http://{}/x",
                floor.address
            ));
            ran.ended_well();
            assert!(bounds.contains(&ran.count("/due")), "{}", ran.text);
            assert_eq!(ran.count("/requests"), ran.count("/due"));
            assert_eq!((ran.count("/unsent"), ran.errors()), (0, 0), "{}", ran.text);
            assert_eq!(ran.json["generator"]["backend"], backend);
            for quantile in ["p50_us", "p99_us", "p99_99_us", "max_us"] {
                let of = |view| ran.us(&format!("/latency/{view}/{quantile}"));
                assert!(of("corrected") >= of("actual"), "{quantile}: {}", ran.json);
            }
            assert_eq!(
                ran.count("/latency/corrected/count"),
                ran.count("/requests")
            );
            assert_eq!(ran.count("/clean/of"), 2 * 400);
            let seconds = ran.json["seconds_series"].as_array().expect("a list");
            assert_eq!(seconds.len(), 2);
            let requests = seconds
                .iter()
                .filter_map(|second| second["requests"].as_u64());
            assert_eq!(requests.sum::<u64>(), ran.count("/requests"));
            let buckets = ran.json["latency"]["corrected"]["buckets"].as_array();
            let counts = buckets
                .expect("a list")
                .iter()
                .filter_map(|bar| bar[1].as_u64());
            assert_eq!(counts.sum::<u64>(), ran.count("/requests"));
        }
    });
}

#[test]
fn a_closed_loop_is_wrks() {
    both_backends(|backend| {
        let floor = Floor::start();
        let ran = run(&format!(
            "-t 2 -c 8 -d 1s --latency --backend {backend} http://{}/x",
            floor.address
        ));
        ran.ended_well();
        assert!(
            ran.count("/requests") > 8 && ran.errors() == 0,
            "{}",
            ran.text
        );
        assert_eq!(ran.count("/bytes"), ran.count("/requests") * (1024 + 300));
        assert_eq!(ran.json["bodies"], "compared byte for byte with the first");
        for words in [
            "2 threads and 8 connections",
            "Latency Distribution",
            "Requests/sec:",
        ] {
            assert!(ran.text.contains(words), "{words} in {}", ran.text);
        }
    });
}

/// Little's law, which holds whatever the host does: connections = rate × latency, less what a turn of many answers leaves
/// between one answer and the next request. So it does for wrk, which counts the same bytes.
#[test]
fn a_closed_loop_agrees_with_itself_and_with_wrk() {
    both_backends(|backend| {
        let floor = Floor::start();
        let load = format!("-t1 -c32 -d1s --latency http://{}/x", floor.address);
        let ran = run(&format!("{load} --backend {backend}"));
        let busy = ran.us("/requests_per_second") * ran.us("/latency/actual/mean_us") / 1e6;
        assert!(
            (24.0..=33.0).contains(&busy),
            "{busy} connections: {}",
            ran.text
        );
        let Ok(wrk) = Command::new("wrk").args(load.split_whitespace()).output() else {
            return eprintln!("not compared: wrk is not installed");
        };
        let text = said(&wrk);
        let line = text.lines().find(|line| line.contains(" requests in "));
        let words: Vec<&str> = line.expect("a sum").split_whitespace().collect();
        let requests: f64 = words[0].parse().expect("a count");
        let size = words[4].trim_end_matches("MB");
        let bytes = size.parse::<f64>().unwrap_or_else(|_| panic!("{text}")) * f64::from(1 << 20);
        let ours = ran.us("/bytes") / ran.us("/requests");
        assert!(
            (bytes / requests / ours - 1.0).abs() < 0.02,
            "{text}{}",
            ran.text
        );
    });
}

#[test]
fn what_is_wrong_with_answers_is_counted_by_kind() {
    const RIGHT: &str = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody";
    let stories: [(&str, &str); 7] = [
        ("", RIGHT),
        ("body", "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nboby"),
        ("body", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nbody!"),
        (
            "status",
            "HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbody",
        ),
        (
            "malformed",
            "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\nbody",
        ),
        ("read", "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbo"),
        ("timeout", "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n"),
    ];
    both_backends(|backend| {
        for (kind, answer) in stories {
            // The two requests before the run, and the two connections of the run that only tell whether one can be had.
            let address = server(move |mut stream, number| {
                while request(&mut stream) {
                    let answer = if number < 3 { RIGHT } else { answer };
                    if stream.write_all(answer.as_bytes()).is_err() || kind == "read" && number >= 3
                    {
                        return;
                    }
                }
            });
            let timeout = if kind == "timeout" { "250ms" } else { "10s" };
            let ran = run(&format!(
                "-t1 -c2 -d600ms -R20 --timeout {timeout} --backend {backend} http://{address}/"
            ));
            ran.ended_well();
            let counted = if kind.is_empty() {
                0
            } else {
                ran.count(&format!("/errors/{kind}"))
            };
            assert_eq!(ran.errors(), counted, "{kind}: {}", ran.json);
            assert_eq!(counted > 0, !kind.is_empty(), "{kind}: {}", ran.json);
        }
    });
}

#[test]
fn bodies_are_held_against_what_is_expected() {
    let _alone = alone();
    let floor = Floor::start();
    let body =
        PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("body-{}", std::process::id()));
    std::fs::write(&body, [b'x'; 1024]).expect("a file");
    for (flags, wrong) in [
        ("--expect-length 1024".to_owned(), false),
        ("--expect-length 1023".to_owned(), true),
        ("--expect-status 404".to_owned(), true),
        ("--verify same".to_owned(), false),
        (format!("--expect-body {}", body.display()), true),
    ] {
        let ran = run(&format!(
            "-t1 -c1 -d200ms {flags} http://{}/x",
            floor.address
        ));
        assert_eq!(ran.errors() > 0, wrong, "{flags}: {}", ran.json);
    }
    let _ = std::fs::remove_file(&body);
}

#[test]
fn connections_that_servers_end_are_opened_anew() {
    both_backends(|backend| {
        let address = server(|mut stream, _| {
            if request(&mut stream) {
                let answer =
                    "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 4\r\n\r\nbody";
                let _ = stream.write_all(answer.as_bytes());
            }
        });
        let ran = run(&format!(
            "-t1 -c4 -d500ms --backend {backend} http://{address}/"
        ));
        ran.ended_well();
        assert!(
            ran.count("/requests") > 4 && ran.errors() == 0,
            "{}",
            ran.json
        );
    });
}

#[test]
fn bodies_that_vary_are_not_compared() {
    let _alone = alone();
    let address = server(|mut stream, number| {
        for count in 0.. {
            let body = format!("{number} {count}");
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
            if !request(&mut stream) || stream.write_all((head + &body).as_bytes()).is_err() {
                return;
            }
        }
    });
    let ran = run(&format!("-t1 -c1 -d200ms http://{address}/"));
    assert_eq!(ran.errors(), 0, "{}", ran.json);
    assert!(
        ran.json["bodies"]
            .as_str()
            .is_some_and(|words| words.starts_with("not compared"))
    );
    let ran = run(&format!("-t1 -c1 -d200ms --verify same http://{address}/"));
    assert!(ran.count("/errors/body") > 0, "{}", ran.json);
}

/// A request takes the generator far longer than the server: ten thousand chunks in one send.
#[test]
fn a_saturated_generator_is_named() {
    both_backends(|backend| {
        let mut answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
        answer.extend(b"1\r\nx\r\n".repeat(10_000));
        answer.extend(b"0\r\n\r\n");
        let address = server(
            move |mut stream, _| {
                while request(&mut stream) && stream.write_all(&answer).is_ok() {}
            },
        );
        for flags in ["", "-R 100k"] {
            let ran = run(&format!(
                "-t1 -c16 -d1500ms {flags} --backend {backend} http://{address}/"
            ));
            assert_eq!(ran.code, 3, "{}", ran.text);
            assert!(
                ran.text.contains("Not certified: saturated generator"),
                "{}",
                ran.text
            );
            assert!(!ran.found("stalled server"), "{}", ran.text);
        }
    });
}

#[test]
fn a_stalled_server_is_named_and_every_request_due_meanwhile_counts() {
    both_backends(|backend| {
        let floor = Floor::start();
        let stall = || {
            let server = Pid::from_child(&floor.process);
            pass(Duration::from_millis(500));
            kill_process(server, Signal::STOP).expect("it stops");
            pass(Duration::from_millis(300));
            kill_process(server, Signal::CONT).expect("it goes on");
        };
        let ran = thread::scope(|scope| {
            let line = format!(
                "-t1 -c4 -d2s -R1000 --backend {backend} http://{}/x",
                floor.address
            );
            let ran = scope.spawn(move || run(&line));
            stall();
            ran.join().expect("it runs")
        });
        ran.ended_well();
        assert!(ran.found("stalled server"), "{}", ran.text);
        assert!(!ran.found("saturated generator"), "{}", ran.text);
        assert_eq!(ran.count("/requests"), 2_000);
        // Some 300 of the 2,000 were due in the stall, a tenth of it or more before its end.
        assert!(
            ran.us("/latency/corrected/p90_us") > 20_000.0,
            "{}",
            ran.json
        );
        assert!(ran.us("/silences/longest_us") > 200_000.0, "{}", ran.json);
    });
}

#[test]
fn a_stolen_cpu_is_named() {
    // So many requests that the generator never sleeps.
    let cpus = platform::host::cpus::affinity().expect("the CPUs of this process");
    let cpu = *cpus.0.last().expect("at least one");
    both_backends(|backend| {
        let floor = Floor::start();
        let over = AtomicBool::new(false);
        let ran = thread::scope(|scope| {
            scope.spawn(|| {
                platform::host::pin::pin(cpu).expect("the CPU is ours");
                while !over.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
            let ran = run(&format!(
                "-t1 -c8 -d2s -R20k --cpus {cpu} --backend {backend} http://{}/x",
                floor.address
            ));
            over.store(true, Ordering::Relaxed);
            ran
        });
        assert_eq!(ran.code, 3, "{}", ran.text);
        assert!(
            ran.text.contains("Not certified: stolen CPU"),
            "{}",
            ran.text
        );
        assert!(!ran.found("saturated generator"), "{}", ran.text);
    });
}

#[test]
fn wrong_usage_exits_2_and_nobody_there_1() {
    let nobody = TcpListener::bind("127.0.0.1:0")
        .and_then(|socket| socket.local_addr())
        .expect("a port");
    for (arguments, code) in [
        ("-t4 -c2 http://127.0.0.1:1/".to_owned(), 2),
        ("-d25h".to_owned(), 2),
        ("-s pipeline.lua".to_owned(), 2),
        ("https://127.0.0.1:1/".to_owned(), 2),
        ("--nonsense".to_owned(), 2),
        (format!("-d1s http://{nobody}/"), 1),
    ] {
        let output = command(&arguments).output().expect("it runs");
        assert_eq!(
            output.status.code(),
            Some(code),
            "{arguments}: {}",
            said(&output)
        );
        assert!(!output.stderr.is_empty(), "{arguments}");
    }
}
