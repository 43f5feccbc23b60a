//! The access log: a thread of its own takes the shards' lines, puts them into words and writes them. Nobody waits for it: where
//! it is behind, shards drop lines and count them.

mod line;
mod sink;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, Thread};
use std::time::Duration;

use platform::host::pin::pin;
use telemetry::access::Batch;
use telemetry::{Counter, Labels, ShardCells};

use crate::clock;
use crate::config::LogShape;
use crate::events::log;
use crate::failure::StartFailure;
use crate::plan::AccessLog as Wanted;

use line::Writer;
use sink::Sink;

/// Rest between looks while lines come in numbers.
const BUSY_REST: Duration = Duration::from_millis(5);
/// Rest between looks otherwise: a line waits for one, or for the next where one before it waits.
const REST: Duration = Duration::from_millis(100);
/// From how many lines of one shard a look on the next is soon.
const MANY: usize = 256;
/// How long the end of the process waits for the last lines to be taken.
const LAST_LINES: Duration = Duration::from_secs(1);

/// The hand on the log's thread.
#[derive(Debug)]
pub(crate) struct AccessLog {
    shared: Arc<Shared>,
    thread: Thread,
    over: Mutex<Receiver<()>>,
}

/// What the log wrote and lost.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Lines written.
    pub(crate) written: Counter,
    /// Lines that could not be written.
    pub(crate) failed: Counter,
}

#[derive(Debug, Default)]
struct Shared {
    tally: Tally,
    reopens: AtomicBool,
    ends: AtomicBool,
}

impl AccessLog {
    /// Opens the log and starts its thread.
    ///
    /// # Errors
    /// When the file cannot be opened or the thread cannot be made.
    pub(crate) fn start(
        wanted: &Wanted,
        shards: Vec<Arc<ShardCells>>,
        labels: Labels,
        spare_cpu: Option<usize>,
    ) -> Result<Self, StartFailure> {
        let sink = Sink::open(wanted.path.clone()).map_err(|error| StartFailure {
            what: format!("the access log {} cannot be opened", wanted.place()),
            cause: error.to_string(),
            fix: "--set telemetry.access_log_path=PATH, or \"stdout\"".to_owned(),
            demanded: true,
        })?;
        let shared = Arc::new(Shared::default());
        let (last, over) = mpsc::channel();
        let scribe = Scribe {
            shared: Arc::clone(&shared),
            shards,
            writer: Writer::new(labels, wanted.shape == LogShape::Json),
            sink,
            batch: Batch::with_room(),
            last,
        };
        let thread = thread::Builder::new().name("access-log".to_owned());
        let body = move || {
            // Unpinned where shards hold every CPU.
            let _ = spare_cpu.map(pin);
            scribe.run();
        };
        let thread = thread.spawn(body).map_err(|error| StartFailure {
            what: "the access log's thread did not start".to_owned(),
            cause: error.to_string(),
            fix: "raise the limit on threads (ulimit -u, pids.max of the cgroup)".to_owned(),
            demanded: false,
        })?;
        Ok(Self {
            shared,
            thread: thread.thread().clone(),
            over: Mutex::new(over),
        })
    }

    /// What it wrote and lost.
    pub(crate) fn tally(&self) -> &Tally {
        &self.shared.tally
    }

    /// Has it go on in a new file of the same name.
    pub(crate) fn reopen(&self) {
        self.shared.reopens.store(true, Ordering::Release);
        self.thread.unpark();
    }

    /// Has it write what the shards left behind, and waits for that, though not for long. To be called when they have ended.
    pub(crate) fn finish(&self) {
        self.shared.ends.store(true, Ordering::Release);
        self.thread.unpark();
        let over = self.over.lock().unwrap_or_else(PoisonError::into_inner);
        if over.recv_timeout(LAST_LINES).is_err() {
            log!(
                AccessLogCut,
                "the last lines of the access log were not taken in time"
            );
        }
    }
}

/// What the thread has.
struct Scribe {
    shared: Arc<Shared>,
    shards: Vec<Arc<ShardCells>>,
    writer: Writer,
    sink: Sink,
    batch: Batch,
    last: Sender<()>,
}

impl Scribe {
    fn run(mut self) {
        loop {
            // What is left behind before the end is announced is found by the look after it.
            let ends = self.shared.ends.load(Ordering::Acquire);
            if self.shared.reopens.swap(false, Ordering::AcqRel) {
                self.sink.reopen();
            }
            let most = self.collect();
            if ends {
                let _ = self.last.send(());
                return;
            }
            thread::park_timeout(if most >= MANY { BUSY_REST } else { REST });
        }
    }

    /// Writes what waits; the most lines of one shard.
    fn collect(&mut self) -> usize {
        let mut most = 0;
        for at in 0..self.shards.len() {
            let Some(cells) = self.shards.get(at) else {
                break;
            };
            cells.log.take(&mut self.batch);
            if self.batch.is_empty() {
                continue;
            }
            most = most.max(self.batch.len());
            let (now, epoch_ns) = (clock::moment(), clock::epoch_ns());
            let text = self.writer.words(cells.shard, &self.batch, now, epoch_ns);
            let tally = &self.shared.tally;
            match self.sink.write(text.as_bytes()) {
                Ok(()) => tally.written.add(self.batch.len() as u64),
                Err(()) => tally.failed.add(self.batch.len() as u64),
            }
            self.batch.clear();
        }
        most
    }
}
