//! The server's silences: answers are awaited, the generator looks, and nothing comes.

use super::gaps::Sum;

/// A shorter silence is latency.
const SILENCE_NS: u64 = 20_000_000;

/// Silences of one thread's connections, all together.
#[derive(Debug, Default)]
pub(crate) struct Silence {
    /// When something was last heard, or awaited first.
    since: u64,
    /// Time since then in which nobody looked.
    away: u64,
    sum: Sum,
}

impl Silence {
    /// From now on something is awaited.
    #[inline]
    pub(crate) fn listen(&mut self, now: u64) {
        self.since = now;
        self.away = 0;
    }

    /// The generator did not look for so long.
    pub(crate) fn away(&mut self, ns: u64) {
        self.away += ns;
    }

    /// Bytes came.
    #[inline]
    pub(crate) fn heard(&mut self, now: u64) {
        if now.saturating_sub(self.since) > SILENCE_NS {
            self.over(now);
        }
        self.listen(now);
    }

    /// The run is over; `awaiting` when answers still are.
    pub(crate) fn finish(&mut self, now: u64, awaiting: bool) {
        if awaiting {
            self.heard(now);
        }
    }

    pub(crate) fn sum(&self) -> Sum {
        self.sum
    }

    #[cold]
    fn over(&mut self, now: u64) {
        let silent = (now - self.since).saturating_sub(self.away);
        if silent > SILENCE_NS {
            self.sum.add(silent);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn a_silence_is_long_and_was_listened_to() {
        let mut silence = Silence::default();
        silence.listen(1_000 * MS);
        silence.heard(1_010 * MS);
        silence.heard(1_210 * MS);
        // The generator itself was away for most of it.
        silence.away(190 * MS);
        silence.heard(1_410 * MS);
        // Nothing was awaited.
        silence.listen(2_000 * MS);
        silence.finish(3_000 * MS, false);
        assert_eq!(
            silence.sum(),
            Sum {
                count: 1,
                total_ns: 200 * MS,
                longest_ns: 200 * MS
            }
        );
    }

    #[test]
    fn a_silence_to_the_end_counts() {
        let mut silence = Silence::default();
        silence.listen(0);
        silence.finish(50 * MS, true);
        assert_eq!(silence.sum().count, 1);
    }
}
