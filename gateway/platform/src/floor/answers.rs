//! The bytes that go out, and the counting of the requests that came in.

/// Answers of one send at most: what a client pipelines within a turn, with room.
const ANSWERS_MAX: usize = 64;
/// Bytes that repeats of an answer may take: above it a send is long enough to hide its own cost.
const BATCH_BYTES: usize = 256 << 10;

/// One answer, repeated, so that any few of them are one slice. Never changes after it is made.
pub(super) struct Answers {
    bytes: Vec<u8>,
    one: usize,
}

impl Answers {
    /// `answer` must not be empty.
    pub(super) fn new(answer: &[u8]) -> Answers {
        let repeats = (BATCH_BYTES / answer.len().max(1)).clamp(1, ANSWERS_MAX);
        Answers {
            bytes: answer.repeat(repeats),
            one: answer.len(),
        }
    }

    /// Bytes of one answer.
    pub(super) fn one(&self) -> usize {
        self.one
    }

    /// As many whole answers of the `owed` as one send carries.
    pub(super) fn batch(&self, owed: u64) -> &[u8] {
        let most = self.bytes.len() / self.one;
        let count = usize::try_from(owed).map_or(most, |owed| owed.min(most));
        &self.bytes[..count * self.one]
    }
}

/// Counts the empty lines that end heads, across the borders of receives.
#[derive(Clone, Copy, Default)]
pub(super) struct RequestCounter {
    /// The last three bytes seen, oldest on top.
    window: u32,
}

const END: u32 = u32::from_be_bytes(*b"\r\n\r\n");

impl RequestCounter {
    /// Requests whose head ends in `bytes`.
    pub(super) fn count(&mut self, bytes: &[u8]) -> u64 {
        let border = bytes.len().min(3);
        let mut ends = 0;
        for &byte in &bytes[..border] {
            self.window = self.window << 8 | u32::from(byte);
            ends += u64::from(self.window == END);
        }
        ends += ends_within(bytes);
        for &byte in bytes[border..].iter().rev().take(3).rev() {
            self.window = self.window << 8 | u32::from(byte);
        }
        ends
    }
}

/// Whole ends inside `bytes`: looks at every fourth byte until one may belong to an end.
fn ends_within(bytes: &[u8]) -> u64 {
    let (mut ends, mut at) = (0, 3);
    while let Some(&byte) = bytes.get(at) {
        at += match byte {
            b'\n' if bytes[at - 3..=at] == *b"\r\n\r\n" => {
                ends += 1;
                2
            }
            b'\r' | b'\n' => 1,
            _ => 4,
        };
    }
    ends
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plainly(bytes: &[u8]) -> u64 {
        bytes
            .windows(4)
            .map(|four| u64::from(four == b"\r\n\r\n"))
            .sum()
    }

    #[test]
    fn any_two_cuts_count_as_the_whole() {
        let texts: [&[u8]; 5] = [
            b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /b HTTP/1.1\r\n\r\n",
            b"\r\n\r\n\r\n\r\n",
            b"\r\r\n\r\n\n\r\n\r\r\n",
            b"\n\r\n\r\n\r",
            b"",
        ];
        for text in texts {
            for first in 0..=text.len() {
                for second in first..=text.len() {
                    let mut counter = RequestCounter::default();
                    let parts = [&text[..first], &text[first..second], &text[second..]];
                    let counted: u64 = parts.iter().map(|part| counter.count(part)).sum();
                    assert_eq!(
                        counted,
                        plainly(text),
                        "{:?} cut at {first} and {second}",
                        text.escape_ascii()
                    );
                }
            }
        }
    }

    #[test]
    fn a_batch_is_whole_answers_within_the_bound() {
        let answers = Answers::new(b"abc");
        assert_eq!(answers.batch(2), b"abcabc");
        assert_eq!(answers.batch(u64::MAX).len(), 3 * ANSWERS_MAX);
        let large = Answers::new(&[0; BATCH_BYTES + 1]);
        assert_eq!(large.batch(9).len(), BATCH_BYTES + 1);
    }
}
