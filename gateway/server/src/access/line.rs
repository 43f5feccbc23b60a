//! A line in words: a JSON object, or the "combined" format that Apache and nginx write.

use std::fmt::Write;

use base::{Moment, ShardId, Wall};
use http::{FieldTable, HeadLimits, Parsed, date, parse_request};
use telemetry::Labels;
use telemetry::access::{Batch, HEAD_BYTES_MAX, Line, Said, peer_text};

/// Puts lines into words.
pub(super) struct Writer {
    labels: Labels,
    is_json: bool,
    table: FieldTable,
    text: String,
}

impl Writer {
    pub(super) fn new(labels: Labels, is_json: bool) -> Self {
        Self {
            labels,
            is_json,
            table: FieldTable::new(),
            text: String::new(),
        }
    }

    /// A shard's lines. `now` and `epoch_ns` are the same moment, the first on the clock of the shards' drivers.
    pub(super) fn words(
        &mut self,
        shard: ShardId,
        batch: &Batch,
        now: Moment,
        epoch_ns: u64,
    ) -> &str {
        self.text.clear();
        for (line, head, id) in batch.iter() {
            let ago = now.0.saturating_sub(line.noted.end.0);
            let ended = epoch_ns.saturating_sub(ago);
            let heard = Heard::of(head, &mut self.table);
            match self.is_json {
                true => {
                    let texts = heard.lossy(id);
                    let at = telemetry::rfc3339_micros(ended);
                    let (labels, said) = (&self.labels, texts.said());
                    labels.write_access(&mut self.text, shard, &at, line, &said);
                }
                false => combined(&mut self.text, ended, line, &heard),
            }
        }
        &self.text
    }
}

/// What a head says. Of one that cannot be read, or was cut off, what its whole lines say, and the first as far as it goes.
#[derive(Default)]
struct Heard<'a> {
    method: &'a [u8],
    target: &'a [u8],
    protocol: &'a [u8],
    host: &'a [u8],
    referer: &'a [u8],
    user_agent: &'a [u8],
}

impl<'a> Heard<'a> {
    fn of(head: &'a [u8], table: &'a mut FieldTable) -> Self {
        let limits = HeadLimits {
            head_bytes: HEAD_BYTES_MAX,
            target_bytes: HEAD_BYTES_MAX,
            fields: usize::MAX,
        };
        let mut lines = head.split(|byte| matches!(byte, b'\r' | b'\n'));
        let first = lines.find(|line| !line.is_empty());
        let mut words = first.unwrap_or_default().splitn(3, |byte| *byte == b' ');
        let mut word = || words.next().unwrap_or_default();
        let mut heard = Self {
            method: word(),
            target: word(),
            protocol: word(),
            ..Self::default()
        };
        if let Parsed::Whole(request) = parse_request(head, table, &limits) {
            for (_, name, value) in request.fields.iter() {
                heard.field(name, value);
            }
            heard.host = request.host;
        } else {
            // The last piece is cut off, or ends the head.
            let lines = head.split_inclusive(|byte| *byte == b'\n');
            for line in lines.filter_map(|line| line.strip_suffix(b"\n")) {
                if let Some(at) = line.iter().position(|byte| *byte == b':') {
                    let (name, value) = line.split_at(at);
                    heard.field(name, value.get(1..).unwrap_or_default().trim_ascii());
                }
            }
        }
        heard
    }

    fn field(&mut self, name: &[u8], value: &'a [u8]) {
        let place = match name {
            name if name.eq_ignore_ascii_case(b"host") => &mut self.host,
            name if name.eq_ignore_ascii_case(b"referer") => &mut self.referer,
            name if name.eq_ignore_ascii_case(b"user-agent") => &mut self.user_agent,
            _ => return,
        };
        *place = value;
    }

    fn lossy(&self, id: &[u8]) -> Texts {
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        Texts([
            text(self.method),
            text(self.target),
            text(self.protocol),
            text(self.host),
            text(self.referer),
            text(self.user_agent),
            text(id),
        ])
    }
}

struct Texts([String; 7]);

impl Texts {
    fn said(&self) -> Said<'_> {
        let [method, target, protocol, host, referer, user_agent, id] = &self.0;
        Said {
            method,
            target,
            protocol,
            host,
            referer,
            user_agent,
            id,
        }
    }
}

/// `client - - [21/Nov/2026:22:19:51 +0000] "GET /a HTTP/1.1" 200 512 "referer" "user agent"`. The bytes are those sent, heads
/// included.
fn combined(text: &mut String, ended_ns: u64, line: &Line, heard: &Heard<'_>) {
    let date = date::format(Wall(ended_ns / 1_000_000));
    let date = String::from_utf8_lossy(&date);
    let part = |range| date.get(range).unwrap_or_default();
    let (day, month, year, time) = (part(5..7), part(8..11), part(12..16), part(17..25));
    // Writing to a string cannot fail.
    let _ = write!(
        text,
        "{} - - [{day}/{month}/{year}:{time} +0000] \"",
        peer_text(line)
    );
    for (at, word) in [heard.method, heard.target, heard.protocol]
        .into_iter()
        .enumerate()
    {
        if at > 0 && !word.is_empty() {
            text.push(' ');
        }
        escaped(text, word);
    }
    let _ = write!(
        text,
        "\" {} {} \"",
        line.noted.status, line.noted.sent_bytes
    );
    escaped(text, or_dash(heard.referer));
    text.push_str("\" \"");
    escaped(text, or_dash(heard.user_agent));
    text.push_str("\"\n");
}

fn or_dash(value: &[u8]) -> &[u8] {
    if value.is_empty() { b"-" } else { value }
}

/// As nginx does: what is not printable ASCII, quotes and backslashes as `\xXX`.
fn escaped(text: &mut String, bytes: &[u8]) {
    for byte in bytes {
        match byte {
            b'"' | b'\\' | 0..=0x1f | 0x7f.. => {
                let _ = write!(text, "\\x{byte:02X}");
            }
            byte => text.push(char::from(*byte)),
        }
    }
}

#[cfg(test)]
mod tests {
    use base::{Span, Stamp};
    use telemetry::{CacheLabel, Cause, MethodLabel, Noted, RouteLabel, Spent, Trace};

    use super::*;

    fn noted() -> Noted {
        Noted {
            cause: Cause::Drawn,
            end: Stamp(0),
            duration: Span::ZERO,
            spent: Spent::default(),
            count: 1,
            method: MethodLabel::Get,
            status: 200,
            route: RouteLabel::NoMatch,
            cache: CacheLabel::None,
            key: 0,
            connection: 0,
            sent_bytes: 0,
            body_bytes: 0,
            backlog: 0,
            upstream: None,
            trace: Trace::default(),
        }
    }

    fn heard(head: &[u8]) -> [String; 6] {
        let mut table = FieldTable::new();
        let Texts([said @ .., _]) = Heard::of(head, &mut table).lossy(b"");
        said
    }

    #[test]
    fn a_head_says_who_asks_what() {
        let said =
            heard(b"GET http://Other/a HTTP/1.1\r\nHost: t\r\nuser-agent: u\r\nReferer: r\r\n\r\n");
        assert_eq!(
            said,
            ["GET", "http://Other/a", "HTTP/1.1", "Other", "r", "u"]
        );
    }

    #[test]
    fn of_a_head_that_is_cut_off_the_whole_lines_are_read() {
        let cookie = "c".repeat(5_000);
        let head =
            format!("GET /a HTTP/1.1\r\nHost: t\r\nUser-Agent: u\r\nCookie: {cookie}\r\n\r\n");
        let head = &head.as_bytes()[..HEAD_BYTES_MAX];
        assert_eq!(heard(head), ["GET", "/a", "HTTP/1.1", "t", "", "u"]);
        let head = b"GET /a HTTP/1.1\r\nHost: t\r\nUser-Agent: only a pa";
        assert_eq!(heard(head), ["GET", "/a", "HTTP/1.1", "t", "", ""]);
    }

    #[test]
    fn a_line_stays_one_line_whatever_is_said() {
        let head = b"GET /\xe2\x80\xa8\xff\"\\\x1b[0m HTTP/1.1\r\nHost: t\r\nUser-Agent: \xc2\x85a\"\t\r\n\r\n";
        let mut text = String::new();
        let mut table = FieldTable::new();
        let line = Line::of(noted(), true, None);
        combined(&mut text, 0, &line, &Heard::of(head, &mut table));
        assert_eq!(
            text,
            "- - - [01/Jan/1970:00:00:00 +0000] \"GET /\\xE2\\x80\\xA8\\xFF\\x22\\x5C\\x1B[0m HTTP/1.1\" 200 0 \"-\" \"\\xC2\\x85a\\x22\"\n"
        );
        let mut batch = Batch::with_room();
        batch.push(line, head, b"i\nd");
        let mut writer = Writer::new(Labels::default(), true);
        let text = writer.words(ShardId(0), &batch, Moment(0), 0).to_owned();
        assert!(
            text.chars().all(|c| !c.is_control() || c == '\n'),
            "{text:?}"
        );
        assert!(!text.contains('\u{2028}'), "{text:?}");
        assert_eq!(text.lines().count(), 1, "{text:?}");
    }
}
