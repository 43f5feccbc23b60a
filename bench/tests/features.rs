//! What the generator can be asked for beyond one request at a time, against servers that look at what comes.

mod support;

use std::io::Write;
use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::mpsc;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use support::{Floor, both_backends, command, file, head, run, server, until};

const RIGHT: &str = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody";
/// The connections before a run: whether one can be had, and two requests.
const BEFORE: u32 = 3;

/// The heads of requests with the numbers of their connections.
type Heard = Arc<Mutex<Vec<(u32, String)>>>;

/// A server of right answers that keeps what it heard.
fn listening() -> (SocketAddr, Heard) {
    let heard = Heard::default();
    let told = Arc::clone(&heard);
    let address = server(move |mut stream, number| {
        while let Some(heads) = head(&mut stream) {
            for head in heads.split_inclusive("\r\n\r\n") {
                let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
                told.push((number, head.to_owned()));
                drop(told);
                if stream.write_all(RIGHT.as_bytes()).is_err() {
                    return;
                }
            }
        }
    });
    (address, heard)
}

fn paths(heard: &Heard) -> Vec<String> {
    let heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
    let of_run = heard.iter().filter(|(number, _)| *number >= BEFORE);
    of_run
        .filter_map(|(_, head)| head.split(' ').nth(1).map(str::to_owned))
        .collect()
}

#[test]
fn pipelined_requests_leave_together_and_each_has_its_answer() {
    both_backends(|backend| {
        // It answers none before it has four, and then in pieces that fit nothing.
        let address = server(|mut stream, number| {
            let many = if number < BEFORE { 1 } else { 4 };
            let heads = |bytes: &[u8]| bytes.windows(4).filter(|end| end == b"\r\n\r\n").count();
            while until(&mut stream, |bytes| heads(bytes) == many).is_some() {
                for piece in RIGHT.repeat(many).as_bytes().chunks(29) {
                    if stream.write_all(piece).is_err() {
                        return;
                    }
                }
            }
        });
        let ran = run(&format!(
            "-t1 -c2 -d500ms --pipeline 4 --timeout 30s --backend {backend} http://{address}/"
        ));
        ran.ended_well();
        let requests = ran.count("/requests");
        assert!(requests >= 8 && requests.is_multiple_of(4), "{}", ran.json);
        assert_eq!((ran.count("/due"), ran.errors()), (requests, 0));
        assert_eq!(ran.count("/bytes"), requests * RIGHT.len() as u64);
    });
}

#[test]
fn an_open_loop_fills_its_pipelines_with_what_is_due() {
    both_backends(|backend| {
        let floor = Floor::start();
        let ran = run(&format!(
            "-t2 -c2 -d2s -R2000 --pipeline 8 --timeout 30s --backend {backend} http://{}/x",
            floor.address
        ));
        ran.ended_well();
        assert_eq!(ran.count("/due"), 4_000);
        assert_eq!((ran.count("/requests"), ran.errors()), (4_000, 0));
        assert_eq!(ran.count("/latency/corrected/count"), 4_000);
    });
}

#[test]
fn what_is_lost_of_a_pipeline_is_counted_one_by_one() {
    both_backends(|backend| {
        let address = server(|mut stream, number| {
            if number < BEFORE {
                while head(&mut stream).is_some() && stream.write_all(RIGHT.as_bytes()).is_ok() {}
            } else if head(&mut stream).is_some() {
                let _ = stream.write_all(RIGHT.repeat(2).as_bytes());
            }
        });
        let ran = run(&format!(
            "-t1 -c2 -d300ms --pipeline 4 --timeout 30s --backend {backend} http://{address}/"
        ));
        // A reset may overtake the two answers.
        let (requests, lost) = (ran.count("/requests"), ran.errors());
        assert_eq!(requests + lost, ran.count("/due"), "{}", ran.json);
        assert!(lost >= requests && lost > 0, "{}", ran.json);
    });
}

#[test]
fn every_request_has_a_connection_of_its_own() {
    both_backends(|backend| {
        // It would go on with each connection.
        let (address, heard) = listening();
        let ran = run(&format!(
            "-t1 -c4 -d300ms --close --backend {backend} http://{address}/"
        ));
        ran.ended_well();
        assert!(
            ran.count("/requests") > 4 && ran.errors() == 0,
            "{}",
            ran.json
        );
        let heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
        let mut numbers: Vec<u32> = heard.iter().map(|(number, _)| *number).collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), heard.len());
        assert!(
            heard
                .iter()
                .all(|(_, head)| head.contains("\r\nConnection: close\r\n"))
        );
    });
}

#[test]
fn each_key_is_asked_for_once_and_the_run_is_over() {
    both_backends(|backend| {
        for flags in ["", "--pipeline 4", "-R 100k"] {
            let (address, heard) = listening();
            let ran = run(&format!(
                "-t2 -c4 -d60s --keys 100 --each {flags} --backend {backend} http://{address}/o/{{key}}?x"
            ));
            assert_eq!(
                (ran.count("/requests"), ran.errors()),
                (100, 0),
                "{}",
                ran.json
            );
            assert!(ran.us("/seconds") < 60.0);
            let mut keys: Vec<u32> = paths(&heard)
                .iter()
                .filter_map(|path| path.strip_prefix("/o/")?.strip_suffix("?x")?.parse().ok())
                .collect();
            keys.sort_unstable();
            assert_eq!(keys, (0..100).collect::<Vec<u32>>());
        }
    });
}

#[test]
fn popular_keys_come_often_and_a_share_goes_elsewhere() {
    both_backends(|backend| {
        let (address, heard) = listening();
        let ran = run(&format!(
            "-t1 -c4 -d1s -R2000 --keys 1000 --zipf 1.2 --mix 0.5=/else --timeout 30s --backend {backend} http://{address}/{{key}}"
        ));
        ran.ended_well();
        assert_eq!(
            (ran.count("/requests"), ran.errors()),
            (2_000, 0),
            "{}",
            ran.json
        );
        let paths = paths(&heard);
        let count = |path: &str| paths.iter().filter(|heard| *heard == path).count();
        assert!((800..1_200).contains(&count("/else")), "{}", count("/else"));
        assert!(count("/0") > count("/9") && count("/0") > 50);
        let mut keys = paths.clone();
        keys.sort_unstable();
        keys.dedup();
        assert!(keys.len() > 50, "{}", keys.len());
    });
}

#[test]
fn idle_connections_and_slow_clients_stand_beside_the_load() {
    both_backends(|backend| {
        let floor = Floor::with(&["--answer-bytes", "100000"]);
        let ran = run(&format!(
            "-t1 -c2 -d1s --idle 50 --slow 3 --backend {backend} http://{}/x",
            floor.address
        ));
        ran.ended_well();
        assert_eq!(
            (ran.count("/beside/idle"), ran.count("/beside/idle_lost")),
            (50, 0)
        );
        assert_eq!(
            (ran.count("/beside/slow"), ran.count("/beside/slow_lost")),
            (3, 0)
        );
        let (slow, bytes) = (ran.count("/beside/slow_bytes"), ran.count("/bytes"));
        assert!(slow > 0 && slow < 100_000 && bytes > slow, "{}", ran.json);
        assert!(
            ran.text.contains("  Idle: 50 connections, 0 lost"),
            "{}",
            ran.text
        );
    });
}

#[test]
fn idle_connections_that_the_server_ends_are_told() {
    both_backends(|backend| {
        // Of those that ask first, every other one.
        let address = server(|mut stream, number| {
            let idle = (BEFORE..BEFORE + 10).contains(&number);
            while head(&mut stream).is_some() {
                if stream.write_all(RIGHT.as_bytes()).is_err() || idle && number % 2 == 0 {
                    return;
                }
            }
        });
        let ran = run(&format!(
            "-t1 -c2 -d300ms --idle 10 --backend {backend} http://{address}/"
        ));
        ran.ended_well();
        assert_eq!(
            (ran.count("/beside/idle_lost"), ran.errors()),
            (5, 0),
            "{}",
            ran.json
        );
    });
}

#[test]
fn methods_and_bodies_go_out_as_asked() {
    let body = file("body");
    std::fs::write(&body, b"to be kept{key}").expect("a file");
    both_backends(|backend| {
        let whole = |bytes: &[u8]| {
            bytes.starts_with(b"PUT /a HTTP/1.1\r\n")
                && bytes.ends_with(b"\r\nContent-Length: 15\r\n\r\nto be kept{key}")
        };
        let address = server(move |mut stream, _| {
            while until(&mut stream, whole).is_some() && stream.write_all(RIGHT.as_bytes()).is_ok()
            {
            }
        });
        let ran = run(&format!(
            "-t1 -c1 -d1s -X PUT --body {} --backend {backend} http://{address}/a",
            body.display()
        ));
        ran.ended_well();
        assert!(
            ran.count("/requests") > 0 && ran.errors() == 0,
            "{}",
            ran.json
        );
        let bodiless = server(|mut stream, _| {
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n";
            while head(&mut stream).is_some() && stream.write_all(answer).is_ok() {}
        });
        let ran = run(&format!(
            "-t1 -c1 -d1s -X HEAD --backend {backend} http://{bodiless}/"
        ));
        ran.ended_well();
        assert!(
            ran.count("/requests") > 0 && ran.errors() == 0,
            "{}",
            ran.json
        );
    });
    let _ = std::fs::remove_file(&body);
}

#[test]
fn answers_that_are_made_anew_are_not_compared() {
    both_backends(|backend| {
        // As a status with its uptime: the same for the two before the run.
        let address = server(|mut stream, number| {
            for count in 0.. {
                let body = if number < BEFORE { 0 } else { count };
                let body = format!("{{\"up\":{body}}}");
                let length = body.len();
                let answer = format!(
                    "HTTP/1.1 200 OK\r\nCache-Control: no-store\r\nContent-Length: {length}\r\n\r\n{body}"
                );
                if head(&mut stream).is_none() || stream.write_all(answer.as_bytes()).is_err() {
                    return;
                }
            }
        });
        let line = format!("-t1 -c1 -d200ms --backend {backend} http://{address}/");
        let ran = run(&line);
        ran.ended_well();
        assert_eq!(ran.errors(), 0, "{}", ran.json);
        assert!(run(&format!("{line} --verify same")).errors() > 0);
    });
}

#[test]
fn ctrl_c_ends_the_run_with_its_report() {
    both_backends(|backend| {
        for flags in ["", "-R 500"] {
            let (tell, told) = mpsc::channel();
            let tell = Mutex::new(tell);
            let address = server(move |mut stream, number| {
                for count in 0.. {
                    if head(&mut stream).is_none() || stream.write_all(RIGHT.as_bytes()).is_err() {
                        return;
                    }
                    if number >= BEFORE && count == 20 {
                        let tell = tell.lock().unwrap_or_else(PoisonError::into_inner);
                        let _ = tell.send(());
                    }
                }
            });
            let json = file("interrupted.json");
            let line = format!("-t2 -c2 -d3600s {flags} --backend {backend} http://{address}/");
            let child = command(&line)
                .arg("--json")
                .arg(&json)
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .expect("it starts");
            told.recv().expect("it runs");
            kill_process(Pid::from_child(&child), Signal::INT).expect("it is told");
            let output = child.wait_with_output().expect("it ends");
            let text = support::said(&output);
            assert_eq!(output.status.code(), Some(130), "{text}");
            assert!(
                text.contains("Interrupted:") && text.contains("requests in"),
                "{text}"
            );
            let read = std::fs::read_to_string(&json).expect("a report");
            let _ = std::fs::remove_file(&json);
            let load: Value = serde_json::from_str(&read).expect("JSON");
            assert_eq!(
                (&load["interrupted"], &load["exit_code"]),
                (&true.into(), &130.into())
            );
            assert!(
                load["requests"]
                    .as_u64()
                    .is_some_and(|requests| requests > 20)
            );
            assert_eq!(load["unsent"], 0, "{load}");
        }
    });
}
