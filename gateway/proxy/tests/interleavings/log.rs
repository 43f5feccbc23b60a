//! What happened in a story, as far as its last events.

use std::collections::VecDeque;
use std::fmt::{self, Display, Formatter};

const LINES_MAX: usize = 150;
/// In characters; the rest of a line is left out.
const LINE_MAX: usize = 500;

pub(crate) struct Log {
    /// What the story is like.
    setting: String,
    lines: VecDeque<String>,
}

impl Log {
    pub(crate) fn new(setting: String) -> Self {
        Self {
            setting,
            lines: VecDeque::new(),
        }
    }

    pub(crate) fn note(&mut self, now: u64, what: &str) {
        if self.lines.len() == LINES_MAX {
            self.lines.pop_front();
        }
        let line = format!("{now}: {}", what.replace("\r\n", " | "));
        self.lines.push_back(line.chars().take(LINE_MAX).collect());
    }
}

impl Display for Log {
    fn fmt(&self, to: &mut Formatter<'_>) -> fmt::Result {
        writeln!(to, "{}", self.setting)?;
        self.lines
            .iter()
            .try_for_each(|line| writeln!(to, "{line}"))
    }
}
