//! The load generator: requests on a schedule or in wrk's closed loop, answers verified, and the generator itself watched,
//! so that a run in which it was the bottleneck says so.

mod arguments;
mod beside;
mod drivers;
mod gaps;
mod histogram;
mod plan;
mod probe;
mod random;
mod reader;
mod recorded;
mod requests;
mod schedule;
mod seconds;
mod server_gaps;
mod silence;
mod tally;
mod target;
mod text;
mod verdict;
mod windows;
mod worker;
#[cfg(test)]
mod wrk;
mod zipf;

use std::fmt;
use std::fs;
use std::io::{self, IsTerminal};
use std::net::{SocketAddr, ToSocketAddrs};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use platform::Clock;
use platform::host::interrupt;

use self::arguments::Usage;
pub(crate) use self::arguments::{Backend, LoadArguments, Mix, Spacing, Spin, Verify};
use self::beside::{Asked, Company};
use self::drivers::{Failure, Ready};
use self::plan::{Plan, Shared};
use self::probe::Probed;
pub(crate) use self::random::Random;
use self::reader::Expected;
use self::requests::Requests;
use self::schedule::Arrivals;
use self::seconds::{SECOND_NS, Series};
use self::tally::Tally;
use self::target::Target;
pub(crate) use self::verdict::CLEAN_WINDOWS_MIN;
use self::verdict::Finding;
use crate::client;
use crate::clock;
use crate::record::{Beside, Load, Second};

/// Wrong usage.
const USAGE: u8 = 2;
/// The generator was the bottleneck, or whoever took its CPU.
const NOT_CERTIFIED: u8 = 3;
/// Ended by Ctrl-C, as a shell counts it.
const INTERRUPTED: u8 = 130;
/// Between two looks for Ctrl-C.
const INTERRUPT: Duration = Duration::from_millis(100);
/// Between the signal and the start, for all threads to see it.
const START_NS: u64 = 5_000_000;
/// So long after the end of a second all threads have told of it.
const TOLD_NS: u64 = 50_000_000;
/// What threads may take beyond the run's own bounds, before the run is given up.
const DEAD_MAN: Duration = Duration::from_secs(10);

/// A run that is over.
pub(crate) struct Run<'r> {
    pub(crate) arguments: &'r LoadArguments,
    pub(crate) tally: Tally,
    pub(crate) backend: platform::Backend,
    /// Why it is not `io_uring`, where that was wished for.
    pub(crate) refused: Option<String>,
    /// Whether bodies were compared, in words.
    pub(crate) compared: String,
    pub(crate) findings: Vec<Finding>,
    pub(crate) seconds: Vec<Second>,
    /// CPU time of the server, where it is known.
    pub(crate) server_cpu_us: Option<u64>,
    pub(crate) beside: Option<Beside>,
    /// The run ended before its time.
    pub(crate) interrupted: bool,
    /// When the first request was due, in nanoseconds since the epoch.
    pub(crate) start_unix_ns: u64,
    /// Windows that are clean on the server's side too, and its gaps, where it told them.
    pub(crate) both_sides: Option<(windows::Clean, gaps::Sum)>,
}

impl Run<'_> {
    /// Whether the figures are the server's.
    pub(crate) fn is_certified(&self) -> bool {
        !self.findings.iter().any(|finding| finding.refuses())
    }

    /// 130 after Ctrl-C, 3 where the generator was the bottleneck, 1 after errors, else 0.
    pub(crate) fn exit_code(&self) -> u8 {
        if self.interrupted {
            return INTERRUPTED;
        }
        match (self.is_certified(), self.tally.errors.sum()) {
            (false, _) => NOT_CERTIFIED,
            (true, 0) => 0,
            (true, _) => 1,
        }
    }
}

/// Why there was no run.
#[derive(Debug)]
pub(crate) enum NoRun {
    /// The arguments.
    Usage(String),
    /// The target, or this host.
    Failed(String),
}

impl fmt::Display for NoRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Usage(what) | Self::Failed(what)) = self;
        f.write_str(what)
    }
}

impl std::error::Error for NoRun {}

impl From<Usage> for NoRun {
    fn from(Usage(what): Usage) -> Self {
        Self::Usage(what)
    }
}

impl From<NoRun> for io::Error {
    fn from(error: NoRun) -> Self {
        io::Error::other(error)
    }
}

/// Drives the load, prints the report and writes it where asked to.
pub(crate) fn run(arguments: &LoadArguments) -> ExitCode {
    match try_run(arguments) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("{error}");
            match error {
                NoRun::Usage(_) => ExitCode::from(USAGE),
                NoRun::Failed(_) => ExitCode::FAILURE,
            }
        }
    }
}

fn try_run(arguments: &LoadArguments) -> Result<u8, NoRun> {
    let show = Show {
        beginning: true,
        progress: io::stderr().is_terminal(),
        // Where the kernel refuses, Ctrl-C ends the program without a report.
        interrupted: interrupt::watch().ok(),
    };
    let run = drive_load(arguments, &|| None, show)?;
    print!("{}", text::report(&run));
    if let Some(file) = &arguments.json {
        let failed =
            |error: &dyn fmt::Display| NoRun::Failed(format!("{}: {error}", file.display()));
        let json = serde_json::to_string(&recorded::load(&run)).map_err(|error| failed(&error))?;
        fs::write(file, json + "\n").map_err(|error| failed(&error))?;
    }
    Ok(run.exit_code())
}

/// Drives the load in this process without a word.
pub(crate) fn measure(arguments: &LoadArguments) -> Result<Load, NoRun> {
    measure_beside(arguments, &|| None).map(|measured| measured.load)
}

/// A load, and what the server took for it.
pub(crate) struct Measured {
    pub(crate) load: Load,
    /// CPU time of the server between the first request and the last answer.
    pub(crate) server_cpu_us: Option<u64>,
}

/// The same, with the CPU time of the server so far, in microseconds, read every second on the calling thread.
pub(crate) fn measure_beside(
    arguments: &LoadArguments,
    server_cpu_us: &dyn Fn() -> Option<u64>,
) -> Result<Measured, NoRun> {
    let run = drive_load(arguments, server_cpu_us, Show::default())?;
    Ok(Measured {
        load: recorded::load(&run),
        server_cpu_us: run.server_cpu_us,
    })
}

/// What is said while a load is driven.
#[derive(Clone, Copy, Default)]
struct Show {
    beginning: bool,
    progress: bool,
    /// Becomes true when the run is to end.
    interrupted: Option<&'static AtomicBool>,
}

/// A load that can be driven.
struct Planned {
    plan: Plan,
    /// In words, how bodies are compared.
    compared: String,
    /// Connections beside it.
    company: Company,
}

fn drive_load<'a>(
    arguments: &'a LoadArguments,
    server_cpu_us: &dyn Fn() -> Option<u64>,
    show: Show,
) -> Result<Run<'a>, NoRun> {
    let Planned {
        plan,
        compared,
        company,
    } = plan(arguments)?;
    if show.beginning {
        print!("{}", text::beginning(arguments));
    }
    let closed = arguments.rate.is_none().then_some(arguments.connections);
    let series = Series::new(closed, server_cpu_us);
    let mut driven = drive(plan, series, show).map_err(NoRun::Failed)?;
    let beside = company.close();
    if arguments.rate.is_none() {
        driven.tally.correct(arguments.connections);
    }
    let both_sides = match (&arguments.server_gaps, &driven.tally.clean) {
        (Some(url), Some(clean)) => {
            let told = server_gaps::ask(url, driven.start_unix_ns, driven.tally.elapsed_ns)
                .map_err(|error| NoRun::Failed(format!("{url}: {error}")))?;
            Some((clean.without(&told.gaps), told.sum))
        }
        _ => None,
    };
    Ok(Run {
        arguments,
        findings: verdict::findings(
            &driven.tally,
            arguments.rate.is_some(),
            both_sides.as_ref().map(|(clean, _)| clean.windows),
        ),
        tally: driven.tally,
        backend: driven.ready.backend,
        refused: driven.ready.refused,
        compared,
        seconds: driven.seconds,
        server_cpu_us: driven.server_cpu_us,
        beside,
        interrupted: driven.interrupted,
        start_unix_ns: driven.start_unix_ns,
        both_sides,
    })
}

/// Asks for a URL once.
pub(crate) fn ask(url: &str) -> io::Result<client::Answer> {
    let url = target::parse(url).map_err(NoRun::from)?;
    let address = (url.host, url.port).to_socket_addrs()?.next();
    let address =
        address.ok_or_else(|| io::Error::other(format!("{} has no address", url.host)))?;
    client::get(address, &url.target)
}

/// Where the load goes: an address that takes connections.
pub(crate) fn address(arguments: &LoadArguments) -> Result<SocketAddr, NoRun> {
    arguments.check()?;
    reached(&Target::new(arguments)?, arguments.timeout)
}

fn reached(target: &Target, patience: Duration) -> Result<SocketAddr, NoRun> {
    let addresses = target
        .resolve()
        .map_err(|error| unable("resolve", target, &error))?;
    probe::reach(&addresses, patience).map_err(|error| unable("connect to", target, &error))
}

fn unable(what: &str, target: &Target, error: &io::Error) -> NoRun {
    NoRun::Failed(format!("unable to {what} {}: {error}", target.authority))
}

fn plan(arguments: &LoadArguments) -> Result<Planned, NoRun> {
    arguments.check()?;
    let target = Target::new(arguments)?;
    let mixed = target.mixed.as_ref();
    let mixed = mixed.map(|(share, request)| (*share, &request[..]));
    let requests = Requests::new(arguments, &target.request, mixed)?;
    let address = reached(&target, arguments.timeout)?;
    drivers::descriptors(arguments.connections + arguments.idle + arguments.slow)
        .map_err(|error| NoRun::Failed(error.to_string()))?;
    let (samples, bodiless) = (requests.samples(), arguments.bodiless());
    let probed = probe::probe(address, &samples, bodiless, arguments.timeout);
    let (expected, compared) = expected(arguments, probed.as_ref())?;
    let asked = Asked {
        address,
        request: samples.into_iter().next().unwrap_or_default(),
        bodiless,
        patience: arguments.timeout,
    };
    let cpu = arguments.cpus.last().copied();
    let company = Company::open(&asked, arguments.idle, arguments.slow, cpu)
        .map_err(|error| unable("have connections beside the load to", &target, &error))?;
    let plan = Plan {
        address,
        requests,
        pipeline: arguments.pipeline,
        close: arguments.close,
        bodiless,
        expected,
        room: drivers::room(probed.map_or(0, |probed| probed.answer_bytes)),
        threads: arguments.threads,
        connections: arguments.connections,
        rate: arguments.rate,
        arrivals: match arguments.arrivals {
            Spacing::Constant => Arrivals::Constant,
            Spacing::Poisson => Arrivals::Poisson(arguments.seed),
        },
        seed: arguments.seed,
        duration_ns: nanoseconds(arguments.duration),
        timeout_ns: nanoseconds(arguments.timeout),
        spins: arguments.spins(),
        backend: arguments.backend,
        cpus: arguments.cpus.clone(),
        keeps_windows: arguments.server_gaps.is_some(),
    };
    Ok(Planned {
        plan,
        compared,
        company,
    })
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// What answers must be, and in words how bodies are compared.
fn expected(
    arguments: &LoadArguments,
    probed: Result<&Probed, &io::Error>,
) -> Result<(Expected, String), NoRun> {
    let mut expected = Expected {
        status: arguments.expect_status,
        length: arguments.expect_length,
        body: None,
    };
    if let Some(file) = &arguments.expect_body {
        let body = fs::read(file).map_err(|error| Usage(format!("{}: {error}", file.display())))?;
        expected.body = Some(body.into());
        return Ok((expected, "with the file given".to_owned()));
    }
    let right = probed.map_err(ToString::to_string).and_then(|probed| {
        match expected.allows(probed.status) {
            true => Ok(probed),
            false => Err(format!("the first had status {}", probed.status)),
        }
    });
    match (arguments.verify, right) {
        (Verify::Off, _) => Ok((expected, "not compared".to_owned())),
        (Verify::Auto, Err(why)) => Ok((expected, format!("not compared: {why}"))),
        (Verify::Auto, Ok(probed)) if !probed.repeats => {
            Ok((expected, "not compared: they vary".to_owned()))
        }
        (Verify::Auto, Ok(probed)) if probed.no_store => Ok((
            expected,
            "not compared: they are no-store, and may vary".to_owned(),
        )),
        (Verify::Same, Err(why)) => Err(NoRun::Failed(format!(
            "there is no first answer to compare with: {why}"
        ))),
        (_, Ok(probed)) => {
            expected.length = expected.length.or(Some(probed.body_bytes));
            expected.body = probed.body.as_deref().map(Into::into);
            let how = match expected.body {
                Some(_) => "byte for byte",
                None => "by length",
            };
            Ok((expected, format!("compared {how} with the first")))
        }
    }
}

/// What threads say.
enum Word {
    Ready(Ready),
    Done(Result<Box<Tally>, Failure>),
}

struct Driven {
    tally: Tally,
    /// The first thread's.
    ready: Ready,
    seconds: Vec<Second>,
    server_cpu_us: Option<u64>,
    interrupted: bool,
    /// When the first request was due, in nanoseconds since the epoch.
    start_unix_ns: u64,
}

/// Runs all threads. The calling one shows the progress and waits, no longer than the plan's own bounds allow.
fn drive(plan: Plan, series: Series<'_>, show: Show) -> Result<Driven, String> {
    let bound = Duration::from_nanos(plan.duration_ns + 2 * plan.timeout_ns) + DEAD_MAN;
    let together = Arc::new((plan, Shared::new()));
    let (plan, shared) = &*together;
    let (tell, told) = mpsc::channel();
    let threads = (0..plan.threads)
        .map(|thread| spawn(thread, Arc::clone(&together), tell.clone()))
        .collect::<io::Result<Vec<_>>>()
        .map_err(|error| error.to_string());
    drop(tell);
    let waiting = Waiting {
        plan,
        shared,
        told,
        ends_at: Clock::system().stamp().0 + nanoseconds(bound),
        series,
        show,
    };
    let outcome = threads.and_then(|threads| Ok((waiting.all()?, threads)));
    shared.give_up();
    let (driven, threads) = outcome?;
    for thread in threads {
        // It has told all it had to tell.
        let _ = thread.join();
    }
    Ok(driven)
}

fn spawn(
    thread: u32,
    together: Arc<(Plan, Shared)>,
    tell: Sender<Word>,
) -> io::Result<thread::JoinHandle<()>> {
    let run = move || {
        let (plan, shared) = &*together;
        // Nobody listens once the run is given up.
        let say = |word| drop(tell.send(word));
        let tally = drivers::run(plan, shared, thread, |ready| say(Word::Ready(ready)));
        say(Word::Done(tally.map(Box::new)));
    };
    thread::Builder::new()
        .name(format!("load-{thread}"))
        .spawn(run)
}

/// The thread that waits for the others.
struct Waiting<'p> {
    plan: &'p Plan,
    shared: &'p Shared,
    told: Receiver<Word>,
    /// Stamp at which the run is given up.
    ends_at: u64,
    series: Series<'p>,
    show: Show,
}

impl Waiting<'_> {
    fn all(mut self) -> Result<Driven, String> {
        let (mut first, mut connections) = (None, 0);
        for _ in 0..self.plan.threads {
            match self.next()? {
                Word::Ready(ready) => {
                    connections += ready.connections;
                    first.get_or_insert(ready);
                }
                Word::Done(Err(failure)) => return Err(failure.to_string()),
                Word::Done(Ok(_)) => {}
            }
        }
        let Some(ready) = first.filter(|_| connections > 0) else {
            return Err(format!("unable to connect to {}", self.plan.address));
        };
        let now = Clock::system().stamp().0;
        self.series.begin(now);
        self.shared.start_at(now + START_NS);
        let mut tally = Tally::new();
        let mut left = self.plan.threads;
        while left > 0 {
            if let Word::Done(done) = self.next()? {
                tally.merge(*done.map_err(|failure| failure.to_string())?);
                left -= 1;
            }
        }
        self.take_seconds(u64::MAX, Clock::system().stamp().0);
        Ok(Driven {
            tally,
            ready,
            server_cpu_us: self.series.server_cpu_us(),
            interrupted: self.shared.stopped(),
            start_unix_ns: self.start_unix_ns(),
            seconds: self.series.seconds,
        })
    }

    fn start_unix_ns(&self) -> u64 {
        let now = Clock::system().stamp().0;
        let ago = now.saturating_sub(self.shared.start().unwrap_or(now));
        clock::unix_ns().saturating_sub(ago)
    }

    /// The next word of a thread; the seconds meanwhile.
    fn next(&mut self) -> Result<Word, String> {
        loop {
            let now = Clock::system().stamp().0;
            if now > self.ends_at {
                return Err("the generator hangs: the run is given up".to_owned());
            }
            let mut until = self.until_told(now);
            if let Some(interrupted) = self.show.interrupted {
                if interrupted.load(Ordering::Relaxed) {
                    self.shared.stop();
                }
                until = until.min(INTERRUPT);
            }
            match self.told.recv_timeout(until) {
                Ok(word) => return Ok(word),
                Err(RecvTimeoutError::Timeout) => self.second(),
                Err(RecvTimeoutError::Disconnected) => {
                    return Err("a thread of the generator ended early".to_owned());
                }
            }
        }
    }

    /// The time until all threads have told of another second.
    fn until_told(&self, now: u64) -> Duration {
        let from = self.shared.start().map_or(now, |start| start + TOLD_NS);
        let past = now.saturating_sub(from) / SECOND_NS;
        let next = from + (past + 1) * SECOND_NS;
        Duration::from_nanos(next.saturating_sub(now))
    }

    fn second(&mut self) {
        let now = Clock::system().stamp().0;
        let Some(start) = self.shared.start() else {
            return;
        };
        let over = now.saturating_sub(start + TOLD_NS) / SECOND_NS;
        if over <= self.series.seconds.len() as u64 {
            return;
        }
        self.take_seconds(over, now);
        if self.show.progress
            && let Some(second) = self.series.seconds.last()
        {
            eprintln!("{}", text::progress(second));
        }
    }

    fn take_seconds(&mut self, end: u64, now: u64) {
        let seen = self.shared.take_seconds(end);
        self.series.take(seen, now);
    }
}
