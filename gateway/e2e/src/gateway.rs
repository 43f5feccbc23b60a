//! The built binary: configured, started, watched from outside, ended.

use std::env;
use std::fs;
use std::io::{Read, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use nix::sys::ptrace;
use nix::sys::wait::{WaitPidFlag, waitpid};
use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};

use crate::client::Client;
use crate::clock::{PATIENCE, becomes, eventually};
use crate::drivers::Backend;
use crate::origin::Origin;
use crate::setup::Setup;

/// What the gateway's log says once every shard is up; `listener=NAME address=ADDRESS` stands before it.
const STARTED: &str = "event=\"started\"";

/// What does not change for so long stands still.
const STILL: Duration = Duration::from_millis(200);

/// Where the gateway's binary is.
///
/// # Panics
/// When it is not there, saying how to build it.
#[must_use]
pub fn binary() -> PathBuf {
    if let Some(path) = env::var_os("ULTRAGATE_BIN") {
        return path.into();
    }
    let own = env::current_exe().expect("a test knows its own file");
    let path = own
        .ancestors()
        .nth(2)
        .map(|profile| profile.join("ultragate"))
        .unwrap_or_default();
    assert!(
        path.is_file(),
        "{} is not there: `cargo build -p ultragate` first",
        path.display()
    );
    path
}

/// A program of the host's, or a printed word that the story is skipped for want of it.
#[must_use]
pub fn installed(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let places = env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    let found = places
        .map(|place| place.join(name))
        .find(|file| file.is_file());
    if found.is_none() {
        eprintln!("skipped: {name} is not installed");
    }
    found
}

/// A run that ended by itself.
#[derive(Debug)]
pub struct Ended {
    /// Its exit code; `None` after a signal.
    pub code: Option<i32>,
    /// All it printed, on both streams.
    pub output: String,
}

impl Ended {
    /// Runs the gateway until it ends.
    pub(crate) fn of(setup: &Setup) -> Ended {
        let mut run = Run::start(setup);
        eventually("the gateway ends", || run.ended().is_some());
        Ended {
            code: run.ended().flatten(),
            output: run.whole_output(),
        }
    }

    /// Runs the binary with plain arguments until it ends.
    ///
    /// # Panics
    /// When it cannot be run.
    #[must_use]
    pub fn with_arguments(arguments: &[&str]) -> Ended {
        let output = command()
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .expect("the binary runs");
        let text = [output.stdout, output.stderr].concat();
        Ended {
            code: output.status.code(),
            output: String::from_utf8_lossy(&text).into_owned(),
        }
    }
}

/// A gateway that listens; killed and reaped on drop.
pub struct Gateway {
    /// The clients' address.
    pub data: SocketAddr,
    /// The operators' address.
    pub operator: SocketAddr,
    /// Prometheus's address.
    pub metrics: SocketAddr,
    run: Run,
}

impl Gateway {
    /// Starts the gateway and waits until it listens.
    pub(crate) fn start(setup: &Setup) -> Gateway {
        let mut run = Run::start(setup);
        becomes(PATIENCE, || {
            run.output().contains(STARTED) || run.ended().is_some()
        });
        let said = run.output();
        assert!(
            said.contains(STARTED) && run.ended().is_none(),
            "the gateway did not come up with\n{}",
            setup.text()
        );
        let gateway = Gateway {
            data: listener(&said, "data"),
            operator: listener(&said, "operator"),
            metrics: listener(&said, "metrics"),
            run,
        };
        eventually("the gateway is ready", || gateway.is_ready());
        gateway
    }

    /// Whether `/readyz` says so.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        TcpStream::connect(self.operator).is_ok()
            && Client::connect(self.operator)
                .ask_quietly("GET /readyz HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
                .is_ok_and(|response| response.status == 200)
    }

    /// The usual one: one shard, everything to `origin`.
    #[must_use]
    pub fn before(origin: &Origin, backend: Backend) -> Gateway {
        Setup::new(backend)
            .everything_to(origin.address(), "")
            .start()
    }

    /// A new connection to the data port.
    #[must_use]
    pub fn client(&self) -> Client {
        Client::connect(self.data)
    }

    /// One request on a connection of its own to the data port.
    pub fn ask(&self, request: impl AsRef<[u8]>) -> crate::Response {
        self.client().ask(request)
    }

    /// Resident memory in bytes.
    #[must_use]
    pub fn rss_bytes(&self) -> u64 {
        self.status_kibibytes("VmRSS:") << 10
    }

    /// Memory in explicit huge pages, in bytes.
    #[must_use]
    pub fn hugepage_bytes(&self) -> u64 {
        self.status_kibibytes("HugetlbPages:") << 10
    }

    /// Threads.
    #[must_use]
    pub fn threads(&self) -> usize {
        entries(&format!("/proc/{}/task", self.run.child.id()))
    }

    /// Open descriptors.
    #[must_use]
    pub fn descriptors(&self) -> usize {
        entries(&format!("/proc/{}/fd", self.run.child.id()))
    }

    /// Open descriptors, once their number stands still: what was closed a moment ago is gone.
    #[must_use]
    pub fn settled_descriptors(&self) -> usize {
        loop {
            let now = self.descriptors();
            if !becomes(STILL, || self.descriptors() != now) {
                return now;
            }
        }
    }

    /// Lowers the number of open descriptors that the kernel lets it have, or raises it as far as it was at start.
    ///
    /// # Panics
    /// When the kernel refuses.
    pub fn limit_descriptors(&self, count: u64) {
        let hard: Option<u64> = fs::read_to_string(format!("/proc/{}/limits", self.run.child.id()))
            .unwrap_or_default()
            .lines()
            .find_map(|line| line.strip_prefix("Max open files"))
            .and_then(|values| values.split_whitespace().nth(1)?.parse().ok());
        let limit = Rlimit {
            current: Some(hard.map_or(count, |hard| hard.min(count))),
            maximum: hard,
        };
        prlimit(self.pid(), Resource::Nofile, limit).expect("the limit is set");
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        if let Some(id) = self.pid() {
            // Fails only if it has ended already.
            let _ = kill_process(id, signal);
        }
    }

    /// Whether a stop has reached every thread.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.run.child.id()));
        let state = |stat: &str| {
            stat.rsplit_once(") ")
                .map(|(_, rest)| rest.starts_with('T'))
        };
        tasks.expect("it runs").flatten().all(|task| {
            let stat = fs::read_to_string(task.path().join("stat"));
            stat.is_ok_and(|stat| state(&stat) == Some(true))
        })
    }

    /// One shard's thread does not run while `meanwhile` does; the rest of the process goes on.
    ///
    /// # Panics
    /// Where the kernel forbids to trace one's own children, or there is no such shard.
    pub fn stall<T>(&self, shard: usize, meanwhile: impl FnOnce() -> T) -> T {
        let thread = self.thread(&format!("shard-{shard}"));
        ptrace::seize(thread, ptrace::Options::empty()).expect("children can be traced");
        ptrace::interrupt(thread).expect("it runs");
        waitpid(thread, Some(WaitPidFlag::__WALL)).expect("it stops");
        let made = meanwhile();
        ptrace::detach(thread, None).expect("it was stopped");
        made
    }

    fn thread(&self, name: &str) -> nix::unistd::Pid {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.run.child.id()));
        let found = tasks.expect("it runs").flatten().find(|task| {
            fs::read_to_string(task.path().join("comm")).is_ok_and(|comm| comm.trim() == name)
        });
        let id = found.and_then(|task| task.file_name().to_str()?.parse().ok());
        nix::unistd::Pid::from_raw(id.expect("a thread of this name"))
    }

    fn pid(&self) -> Option<Pid> {
        let id = i32::try_from(self.run.child.id()).ok()?;
        Pid::from_raw(id)
    }

    /// Waits for the end and gives the exit code, `None` after a signal.
    ///
    /// # Panics
    /// When it does not end.
    pub fn end(&mut self) -> Option<i32> {
        eventually("the gateway ends", || self.run.ended().is_some());
        self.run.ended().flatten()
    }

    /// Whether it is still there.
    pub fn runs(&mut self) -> bool {
        self.run.ended().is_none()
    }

    /// All it has printed so far, on both streams.
    #[must_use]
    pub fn output(&self) -> String {
        self.run.output()
    }

    fn status_kibibytes(&self, name: &str) -> u64 {
        let status =
            fs::read_to_string(format!("/proc/{}/status", self.run.child.id())).unwrap_or_default();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .unwrap_or_default();
        line.trim()
            .trim_end_matches("kB")
            .trim()
            .parse()
            .unwrap_or(0)
    }
}

/// Where a listener is, by the log.
fn listener(said: &str, name: &str) -> SocketAddr {
    let text = said.split_once(&format!("listener={name} address="));
    let word = text.and_then(|(_, rest)| rest.split_whitespace().next());
    word.and_then(|word| word.parse().ok())
        .unwrap_or_else(|| panic!("no address of {name} in\n{said}"))
}

/// The process with what it prints and the directory of its configuration.
struct Run {
    child: Child,
    directory: PathBuf,
    output: Arc<Mutex<String>>,
    readers: Vec<thread::JoinHandle<()>>,
}

impl Run {
    fn start(setup: &Setup) -> Run {
        let directory = new_directory();
        let file = directory.join("gateway.toml");
        fs::write(&file, setup.text()).expect("the directory takes a file");
        let mut child = command_under(setup.launcher())
            .arg("-c")
            .arg(&file)
            .envs(setup.variables().iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let output = Arc::new(Mutex::new(String::new()));
        let readers = [
            child.stdout.take().map(Stream::Out),
            child.stderr.take().map(Stream::Error),
        ];
        let readers = readers
            .into_iter()
            .flatten()
            .map(|stream| collect(stream, Arc::clone(&output)))
            .collect();
        Run {
            child,
            directory,
            output,
            readers,
        }
    }

    fn output(&self) -> String {
        self.output
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// After the end: what was printed last as well.
    fn whole_output(&mut self) -> String {
        for reader in self.readers.drain(..) {
            let _ = reader.join();
        }
        self.output()
    }

    fn ended(&mut self) -> Option<Option<i32>> {
        self.child
            .try_wait()
            .ok()
            .flatten()
            .map(|status| status.code())
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        // Fails only if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let output = self.whole_output();
        if thread::panicking() {
            let _ = writeln!(std::io::stderr(), "the gateway said:\n{output}");
        }
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// The binary, without what the stories' own environment would tell it.
fn command() -> Command {
    command_under(&[])
}

/// The same, executed by another program.
fn command_under(launcher: &[String]) -> Command {
    let mut command = match launcher {
        [] => Command::new(binary()),
        [program, arguments @ ..] => {
            let mut command = Command::new(program);
            command.args(arguments).arg(binary());
            command
        }
    };
    for (name, _) in env::vars_os() {
        if name.as_encoded_bytes().starts_with(b"ULTRAGATE_") {
            command.env_remove(name);
        }
    }
    command
}

enum Stream {
    Out(std::process::ChildStdout),
    Error(std::process::ChildStderr),
}

impl Read for Stream {
    fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Stream::Out(stream) => stream.read(bytes),
            Stream::Error(stream) => stream.read(bytes),
        }
    }
}

fn collect(mut stream: Stream, output: Arc<Mutex<String>>) -> thread::JoinHandle<()> {
    let work = move || {
        let mut part = [0; 4096];
        while let Some(bytes) = stream
            .read(&mut part)
            .ok()
            .and_then(|length| part.get(..length))
            .filter(|bytes| !bytes.is_empty())
        {
            output
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push_str(&String::from_utf8_lossy(bytes));
        }
    };
    thread::Builder::new()
        .name("gateway output".to_owned())
        .spawn(work)
        .expect("a thread is left")
}

fn new_directory() -> PathBuf {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let directory = env::temp_dir().join(format!("ultragate-e2e-{}-{number}", std::process::id()));
    fs::create_dir_all(&directory).expect("there is room for a directory");
    directory
}

fn entries(directory: &str) -> usize {
    fs::read_dir(Path::new(directory)).map_or(0, Iterator::count)
}
