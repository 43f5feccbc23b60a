//! What the stories share: servers whose faults are known, and runs of the program.

#![allow(dead_code, reason = "each file of stories is a program of its own")]
#![allow(unreachable_pub, reason = "a module of tests")]

use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use serde_json::Value;

pub const PROGRAM: &str = env!("CARGO_BIN_EXE_benchmark");

/// One story at a time: each would be the other's stolen CPU.
pub fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Both interfaces to the kernel.
pub fn both_backends(story: impl Fn(&str)) {
    let _alone = alone();
    for backend in ["io_uring", "epoll"] {
        eprintln!("on {backend}");
        story(backend);
    }
}

/// A server of fixed answers, ended on drop.
pub struct Floor {
    pub process: Child,
    pub address: String,
}

impl Floor {
    pub fn start() -> Floor {
        Floor::with(&[])
    }

    /// With further flags.
    pub fn with(flags: &[&str]) -> Floor {
        let mut process = Command::new(PROGRAM)
            .args(["floor", "--serve-seconds", "120", "--backend", "epoll"])
            .args(flags)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the floor starts");
        let mut line = String::new();
        let output = process.stdout.take().expect("a pipe");
        BufReader::new(output).read_line(&mut line).expect("a line");
        let address = line.trim().strip_prefix("listening ").expect("an address");
        Floor {
            address: address.to_owned(),
            process,
        }
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Serves each connection with `serve` on a thread of its own, for as long as the test runs.
pub fn server(serve: impl Fn(TcpStream, u32) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    let accept = move || {
        let serve = &serve;
        thread::scope(|scope| {
            for (stream, number) in listener.incoming().flatten().zip(0..) {
                scope.spawn(move || serve(stream, number));
            }
        });
    };
    thread::Builder::new().spawn(accept).expect("a thread");
    address
}

/// Lets a time pass that is part of a story.
pub fn pass(time: Duration) {
    let (_tell, told) = std::sync::mpsc::channel::<()>();
    let _ = told.recv_timeout(time);
}

/// Reads one request; false at the connection's end.
pub fn request(stream: &mut TcpStream) -> bool {
    head(stream).is_some()
}

/// Reads the head of one request; none at the connection's end.
pub fn head(stream: &mut TcpStream) -> Option<String> {
    until(stream, |bytes| bytes.ends_with(b"\r\n\r\n"))
}

/// Reads until what came is enough; none at the connection's end.
pub fn until(stream: &mut TcpStream, enough: impl Fn(&[u8]) -> bool) -> Option<String> {
    let (mut bytes, mut part) = (Vec::new(), [0; 4096]);
    while !enough(&bytes) {
        match stream.read(&mut part) {
            Ok(count) if count > 0 => bytes.extend_from_slice(&part[..count]),
            _ => return None,
        }
    }
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// What a run left behind.
pub struct Ran {
    pub code: i32,
    pub json: Value,
    pub text: String,
}

impl Ran {
    pub fn count(&self, path: &str) -> u64 {
        let value = self.json.pointer(path).and_then(Value::as_u64);
        value.unwrap_or_else(|| panic!("no {path} in {}", self.json))
    }

    pub fn us(&self, path: &str) -> f64 {
        let value = self.json.pointer(path).and_then(Value::as_f64);
        value.unwrap_or_else(|| panic!("no {path} in {}", self.json))
    }

    pub fn found(&self, finding: &str) -> bool {
        let findings = self.json["findings"].as_array().expect("a list");
        findings.iter().any(|found| found == finding)
    }

    pub fn errors(&self) -> u64 {
        let errors = self.json["errors"].as_object().expect("an object");
        errors.values().filter_map(Value::as_u64).sum()
    }

    /// 0 or 1 by its errors, or 3 because the host took the CPU.
    pub fn ended_well(&self) {
        let by_errors = i32::from(self.errors() > 0);
        let certified = self.json["certified"].as_bool().expect("a verdict");
        assert_eq!(
            self.code,
            if certified { by_errors } else { 3 },
            "{}",
            self.text
        );
        assert_eq!(
            self.text.contains("\nCertified"),
            certified,
            "{}",
            self.text
        );
        assert_eq!(self.json["exit_code"], self.code);
    }
}

pub fn command(arguments: &str) -> Command {
    let mut command = Command::new(PROGRAM);
    command
        .args(arguments.split_whitespace())
        .stdin(Stdio::null());
    command
}

/// A file of this test's own.
pub fn file(name: &str) -> PathBuf {
    static FILES: AtomicU32 = AtomicU32::new(0);
    let number = FILES.fetch_add(1, Ordering::Relaxed);
    PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
        .join(format!("{}-{number}-{name}", std::process::id()))
}

pub fn run(arguments: &str) -> Ran {
    let file = file("run.json");
    let output = command(arguments)
        .arg("--json")
        .arg(&file)
        .output()
        .expect("it runs");
    let text = said(&output);
    let json = std::fs::read_to_string(&file)
        .unwrap_or_else(|_| panic!("no report; {}: {text}", output.status));
    let _ = std::fs::remove_file(&file);
    Ran {
        code: output.status.code().expect("a code"),
        json: serde_json::from_str(&json).expect("JSON"),
        text,
    }
}

pub fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}
