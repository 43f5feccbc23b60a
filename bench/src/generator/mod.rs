//! The load generator: requests on a schedule or in wrk's closed loop, answers verified, and the generator itself watched,
//! so that a run in which it was the bottleneck says so.

mod arguments;
mod drivers;
mod gaps;
mod histogram;
mod json;
mod plan;
mod probe;
mod reader;
mod schedule;
mod silence;
mod tally;
mod target;
mod text;
mod verdict;
mod windows;
mod worker;

use std::fs;
use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use platform::Clock;

pub(crate) use self::arguments::LoadArguments;
use self::arguments::{Spacing, Usage, Verify};
use self::drivers::{Failure, Ready};
use self::plan::{Plan, Shared};
use self::probe::Probed;
use self::reader::Expected;
use self::schedule::Arrivals;
use self::tally::Tally;
use self::target::Target;
use self::verdict::Finding;

/// Wrong usage.
const USAGE: u8 = 2;
/// The generator was the bottleneck, or whoever took its CPU.
const NOT_CERTIFIED: u8 = 3;
/// Between the signal and the start, for all threads to see it.
const START_NS: u64 = 5_000_000;
/// Threads tell how it goes every second after the start; so long after that all have told.
const SECOND_NS: u64 = 1_000_000_000;
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
}

impl Run<'_> {
    /// Whether the figures are the server's.
    pub(crate) fn is_certified(&self) -> bool {
        !self.findings.iter().any(|finding| finding.refuses())
    }

    /// 3 where the generator was the bottleneck, 1 after errors, else 0.
    pub(crate) fn exit_code(&self) -> u8 {
        match (self.is_certified(), self.tally.errors.sum()) {
            (false, _) => NOT_CERTIFIED,
            (true, 0) => 0,
            (true, _) => 1,
        }
    }
}

/// Why there was no run.
enum NoRun {
    Usage(Usage),
    Failed(String),
}

impl From<Usage> for NoRun {
    fn from(usage: Usage) -> Self {
        Self::Usage(usage)
    }
}

/// Drives the load, prints the report and writes it where asked to.
pub(crate) fn run(arguments: &LoadArguments) -> ExitCode {
    match try_run(arguments) {
        Ok(code) => ExitCode::from(code),
        Err(NoRun::Usage(Usage(what))) => {
            eprintln!("{what}");
            ExitCode::from(USAGE)
        }
        Err(NoRun::Failed(what)) => {
            eprintln!("{what}");
            ExitCode::FAILURE
        }
    }
}

fn try_run(arguments: &LoadArguments) -> Result<u8, NoRun> {
    arguments.check()?;
    let target = Target::new(&arguments.url, &arguments.headers)?;
    let failed = |what: &str, error: &dyn std::fmt::Display| {
        NoRun::Failed(format!("unable to {what} {}: {error}", target.authority))
    };
    let addresses = target
        .resolve()
        .map_err(|error| failed("resolve", &error))?;
    let address = probe::reach(&addresses, arguments.timeout)
        .map_err(|error| failed("connect to", &error))?;
    drivers::descriptors(arguments.connections)
        .map_err(|error| NoRun::Failed(error.to_string()))?;
    let probed = probe::probe(address, &target.request, arguments.timeout);
    let (expected, compared) = expected(arguments, probed.as_ref())?;
    let plan = Plan {
        address,
        // Once a process: the drivers send it from where it lies.
        request: target.request.leak(),
        expected,
        room: drivers::room(probed.map_or(0, |probed| probed.answer_bytes)),
        threads: arguments.threads,
        connections: arguments.connections,
        rate: arguments.rate,
        arrivals: match arguments.arrivals {
            Spacing::Constant => Arrivals::Constant,
            Spacing::Poisson => Arrivals::Poisson(arguments.seed),
        },
        duration_ns: nanoseconds(arguments.duration),
        timeout_ns: nanoseconds(arguments.timeout),
        spins: arguments.spins(),
        backend: arguments.backend,
        cpus: arguments.cpus.clone(),
        progress: io::stderr().is_terminal(),
    };
    print!("{}", text::beginning(arguments));
    let mut driven = drive(plan).map_err(NoRun::Failed)?;
    if arguments.rate.is_none() {
        driven.tally.correct(arguments.connections);
    }
    let run = Run {
        arguments,
        findings: verdict::findings(&driven.tally, arguments.rate.is_some()),
        tally: driven.tally,
        backend: driven.ready.backend,
        refused: driven.ready.refused,
        compared,
    };
    print!("{}", text::report(&run));
    if let Some(file) = &arguments.json {
        fs::write(file, json::report(&run))
            .map_err(|error| NoRun::Failed(format!("{}: {error}", file.display())))?;
    }
    Ok(run.exit_code())
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
}

/// Runs all threads. The calling one shows the progress and waits, no longer than the plan's own bounds allow.
fn drive(plan: Plan) -> Result<Driven, String> {
    let bound = Duration::from_nanos(plan.duration_ns + 2 * plan.timeout_ns) + DEAD_MAN;
    let threads = plan.threads;
    let together = Arc::new((plan, Shared::new()));
    let (tell, told) = mpsc::channel();
    for thread in 0..threads {
        spawn(thread, Arc::clone(&together), tell.clone()).map_err(|error| error.to_string())?;
    }
    drop(tell);
    let (plan, shared) = &*together;
    let waiting = Waiting {
        plan,
        shared,
        told,
        ends_at: Clock::system().stamp().0 + nanoseconds(bound),
    };
    let outcome = waiting.all(threads);
    shared.give_up();
    outcome
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
}

impl Waiting<'_> {
    fn all(&self, threads: u32) -> Result<Driven, String> {
        let (mut first, mut connections) = (None, 0);
        for _ in 0..threads {
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
        self.shared.start_at(Clock::system().stamp().0 + START_NS);
        let mut tally = Tally::new();
        let mut left = threads;
        while left > 0 {
            if let Word::Done(done) = self.next()? {
                tally.merge(*done.map_err(|failure| failure.to_string())?);
                left -= 1;
            }
        }
        Ok(Driven { tally, ready })
    }

    /// The next word of a thread; progress meanwhile.
    fn next(&self) -> Result<Word, String> {
        loop {
            let now = Clock::system().stamp().0;
            if now > self.ends_at {
                return Err("the generator hangs: the run is given up".to_owned());
            }
            match self.told.recv_timeout(self.until_progress(now)) {
                Ok(word) => return Ok(word),
                Err(RecvTimeoutError::Timeout) => self.show_progress(),
                Err(RecvTimeoutError::Disconnected) => {
                    return Err("a thread of the generator ended early".to_owned());
                }
            }
        }
    }

    /// The time until all threads have told of another second.
    fn until_progress(&self, now: u64) -> Duration {
        let from = self.shared.start().map_or(now, |start| start + TOLD_NS);
        let past = now.saturating_sub(from) / SECOND_NS;
        let next = from + (past + 1) * SECOND_NS;
        Duration::from_nanos(next.saturating_sub(now))
    }

    fn show_progress(&self) {
        if self.plan.progress && self.shared.start().is_some() {
            eprintln!("{}", text::progress(&self.shared.take_recent()));
        }
    }
}
