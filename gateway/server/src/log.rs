//! Events: one line each on standard error. Every event has a stable code in its field `event` ([`crate::events`]).

use std::io::{self, Write};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::fmt;

use crate::config::LogFormat;
use crate::events::log;
use crate::plan::Log;

/// Starts writing events. Later calls do nothing.
pub(crate) fn start(log: &Log, verbose: bool) {
    let level = match verbose {
        true => LevelFilter::DEBUG,
        false => log.level.parse().unwrap_or(LevelFilter::INFO),
    };
    let lines = fmt()
        .with_max_level(level)
        .with_target(false)
        .log_internal_errors(false)
        .with_writer(|| Lines);
    let set = match log.format {
        LogFormat::Plain => {
            tracing::subscriber::set_global_default(lines.with_ansi(false).finish())
        }
        LogFormat::Json => {
            let lines = lines.json().flatten_event(true).with_current_span(false);
            tracing::subscriber::set_global_default(lines.with_span_list(false).finish())
        }
    };
    // Only a second call fails, and the first one's subscriber goes on.
    let _ = set;
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        let what = panic.payload_as_str().unwrap_or("without words");
        log!(Panic, place, what, "a panic: this is a bug");
    }));
}

/// Standard error, where what the system calls an error does not look like one of ours: `(os error 12)` is `(errno 12)`.
struct Lines;

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(line);
        let text = text.replace("(os error ", "(errno ");
        // Where nobody reads any more, or a disk is full, the event is lost: whoever hears of that would write here too.
        let _ = io::stderr().write_all(text.as_bytes());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
