//! The server's silences: answers are awaited, the generator looks, and nothing comes.

use super::gaps::Sum;

/// A shorter silence is latency.
const SILENCE_NS: u64 = 20_000_000;

/// Silences of one thread's connections, all together.
#[derive(Debug, Default)]
pub(crate) struct Silence {
    /// When something was last heard, or awaited first.
    since: u64,
    sum: Sum,
}

impl Silence {
    /// From now on something is awaited.
    #[inline]
    pub(crate) fn listen(&mut self, now: u64) {
        self.since = now;
    }

    /// Bytes came, which had not yet come at `before`: a gap of the generator's own is no silence.
    #[inline]
    pub(crate) fn heard(&mut self, before: u64, now: u64) {
        let silent = before.saturating_sub(self.since);
        if silent > SILENCE_NS {
            self.sum.add(silent);
        }
        self.listen(now);
    }

    pub(crate) fn sum(&self) -> Sum {
        self.sum
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
        silence.heard(1_010 * MS, 1_010 * MS);
        silence.heard(1_210 * MS, 1_211 * MS);
        // The generator itself was away for most of it.
        silence.heard(1_220 * MS, 1_410 * MS);
        // Nothing was awaited.
        silence.listen(2_000 * MS);
        assert_eq!(
            silence.sum(),
            Sum {
                count: 1,
                total_ns: 200 * MS,
                longest_ns: 200 * MS
            }
        );
    }
}
