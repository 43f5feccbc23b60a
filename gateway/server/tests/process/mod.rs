//! The built binary as a process, and just enough of a client to ask it things.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// No story takes longer; one that does has failed.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// The binary, in an environment without variables of its own.
pub(crate) fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ultragate"));
    command.env_clear().stdin(Stdio::null());
    command
}

/// Runs it to its end.
pub(crate) fn run(arguments: &[&str]) -> (i32, String, String) {
    finished(command().args(arguments).output().expect("started"))
}

/// What came of a run: exit code, standard output, standard error.
pub(crate) fn finished(output: Output) -> (i32, String, String) {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    let code = output.status.code().expect("an exit, not a signal");
    (code, text(output.stdout), text(output.stderr))
}

/// A file in a directory of its own, removed when dropped.
pub(crate) struct TempFile(pub(crate) PathBuf);

impl TempFile {
    pub(crate) fn new(name: &str, text: &str) -> Self {
        let directory = format!("ultragate-test-{}-{name}", std::process::id());
        let directory = std::env::temp_dir().join(directory);
        std::fs::create_dir_all(&directory).expect("a directory");
        let path = directory.join("gateway.toml");
        std::fs::write(&path, text).expect("a file");
        Self(path)
    }

    pub(crate) fn path(&self) -> &str {
        self.0.to_str().expect("text")
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        if let Some(directory) = self.0.parent() {
            let _ = std::fs::remove_dir_all(directory);
        }
    }
}

/// Flags that let a test's gateway run beside others: every port chosen by the kernel, one shard, little memory.
pub(crate) const BESIDE_OTHERS: [&str; 10] = [
    "--set",
    "listen.data=127.0.0.1:0",
    "--set",
    "listen.operator=127.0.0.1:0",
    "--set",
    "listen.metrics=127.0.0.1:0",
    "--set",
    "api_gateway.worker_threads=1",
    "--set",
    "api_gateway.memory_pool_size=16MiB",
];

/// A running gateway, killed when dropped.
pub(crate) struct Gateway {
    child: Child,
    events: Receiver<String>,
    listener: Option<JoinHandle<()>>,
    /// Addresses of the listeners `data`, `operator` and `metrics`.
    pub(crate) data: SocketAddr,
    pub(crate) operator: SocketAddr,
    pub(crate) metrics: SocketAddr,
}

impl Gateway {
    /// Starts it and waits until every shard is up.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let mut child = command()
            .args(BESIDE_OTHERS)
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("started");
        let (send, events) = channel();
        let log = BufReader::new(child.stderr.take().expect("piped"));
        let listener = std::thread::Builder::new()
            .spawn(move || {
                let mut lines = log.lines().map_while(Result::ok);
                while lines.next().is_some_and(|line| send.send(line).is_ok()) {}
            })
            .expect("a thread");
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut gateway = Self {
            child,
            events,
            listener: Some(listener),
            data: nowhere,
            operator: nowhere,
            metrics: nowhere,
        };
        gateway.data = gateway.listening("data");
        gateway.operator = gateway.listening("operator");
        gateway.metrics = gateway.listening("metrics");
        gateway.event("ready");
        gateway
    }

    fn listening(&self, name: &str) -> SocketAddr {
        let line = self.event_with("bound", &format!("listener={name} "));
        let address = line.split("address=").nth(1).expect("an address");
        address.trim().parse().expect("an address")
    }

    /// Waits for an event of this code.
    pub(crate) fn event(&self, code: &str) -> String {
        self.event_with(code, "")
    }

    fn event_with(&self, code: &str, part: &str) -> String {
        let code = format!("event=\"{code}\"");
        let mut seen = String::new();
        loop {
            let line = self.events.recv_timeout(DEADLINE);
            let line = line.unwrap_or_else(|_| panic!("no {code} in:\n{seen}"));
            if line.contains(&code) && line.contains(part) {
                return line;
            }
            seen += &line;
            seen.push('\n');
        }
    }

    /// Has nobody read its events any more: the pipe is closed.
    pub(crate) fn deafen(&mut self) {
        let (_, deaf) = channel();
        self.events = deaf;
        // The reader leaves with the next event.
        self.signal("HUP");
        let listener = self.listener.take().expect("once");
        listener.join().expect("ended");
    }

    /// Sends a signal by its name.
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &pid]).status();
        assert!(sent.expect("kill").success());
    }

    /// Waits for its end: the exit code and what it wrote to standard output.
    pub(crate) fn end(mut self) -> (i32, String) {
        let mut out = String::new();
        let mut pipe = self.child.stdout.take().expect("piped");
        pipe.read_to_string(&mut out).expect("text");
        let status = self.child.wait().expect("ended");
        (status.code().expect("an exit, not a signal"), out)
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An answer: status, head, body.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

/// Asks for a path and reads the answer to the end of the connection.
pub(crate) fn ask(address: SocketAddr, method: &str, path: &str, fields: &str) -> Answer {
    let mut stream = TcpStream::connect(address).expect("connected");
    stream.set_read_timeout(Some(DEADLINE)).expect("set");
    let request =
        format!("{method} {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n{fields}\r\n");
    stream.write_all(request.as_bytes()).expect("sent");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("an answer");
    let answer = String::from_utf8(answer).expect("text");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    Answer {
        status: status.expect("a status"),
        head: head.to_lowercase(),
        body: body.to_owned(),
    }
}

/// `GET`.
pub(crate) fn get(address: SocketAddr, path: &str) -> Answer {
    ask(address, "GET", path, "")
}
