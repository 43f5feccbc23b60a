//! The formats of an exposition, and which of them a scraper asks for.

/// How an exposition is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// The classic Prometheus text format 0.0.4.
    #[default]
    Text,
    /// `OpenMetrics` text 1.0.0: units, and exemplars on the buckets of durations.
    OpenMetrics,
    /// Delimited messages of Prometheus' protobuf schema: native histograms of durations beside the classic buckets.
    Protobuf,
}

/// What a media range says of a format.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Match {
    /// 0 for `*/*`, 1 for `text/*`, 2 for the type itself, and one more for each parameter.
    exactness: usize,
    thousandths: u16,
    /// From the end of the list.
    place: usize,
}

impl Format {
    /// Every format; of those wanted alike, the first.
    const ALL: [Self; 3] = [Self::Text, Self::OpenMetrics, Self::Protobuf];

    /// The media type of an exposition.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Protobuf => {
                "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
            }
        }
    }

    /// What `Accept` asks for (RFC 9110 §12.5.1; several lines joined by commas): what weighs most, of equal weights what
    /// is named before what a wildcard covers, and then what is named first. Where nothing fits, the classic text: a
    /// scraper that cannot read it says more than a 406 would.
    #[must_use]
    pub fn preferred(accept: &str) -> Self {
        let mut preferred = (Self::Text, (0, false, 0));
        for format in Self::ALL {
            let ranges = parts(accept, ',');
            let matches = ranges
                .enumerate()
                .filter_map(|(place, range)| format.described_by(range, place));
            // The most exact range decides, however it weighs.
            if let Some(found) = matches.max_by_key(|found| (found.exactness, found.place)) {
                let wish = (found.thousandths, found.exactness > 1, found.place);
                if found.thousandths > 0 && wish > preferred.1 {
                    preferred = (format, wish);
                }
            }
        }
        preferred.0
    }

    fn described_by(self, range: &str, place: usize) -> Option<Match> {
        let mut parameters = parts(range, ';');
        let range = parameters.next()?;
        let (media_type, own) = self.media();
        let mut exactness = match range.strip_suffix('*') {
            Some("*/") => 0,
            Some(family) if starts_with(media_type, family) => 1,
            None if range.eq_ignore_ascii_case(media_type) => 2,
            _ => return None,
        };
        let mut thousandths = 1000;
        let mut missing = own.len();
        for parameter in parameters {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            let value = value.trim_matches('"');
            let known = own
                .iter()
                .find(|(own, _)| own.eq_ignore_ascii_case(name.trim()));
            match known {
                Some((_, own)) if !own.eq_ignore_ascii_case(value) => return None,
                Some(_) => {
                    exactness += 1;
                    missing = missing.saturating_sub(1);
                }
                None if name.trim().eq_ignore_ascii_case("q") => thousandths = weight(value)?,
                None => {}
            }
        }
        // Other schemas share the media type: only who names this one can read it.
        let unnamed = self == Self::Protobuf && exactness > 1 && missing > 0;
        (!unnamed).then_some(Match {
            exactness,
            thousandths,
            place: usize::MAX - place,
        })
    }

    /// The media type without and with its parameters.
    fn media(self) -> (&'static str, &'static [(&'static str, &'static str)]) {
        match self {
            Self::Text => ("text/plain", &[("version", "0.0.4")]),
            Self::OpenMetrics => ("application/openmetrics-text", &[("version", "1.0.0")]),
            Self::Protobuf => (
                "application/vnd.google.protobuf",
                &[
                    ("proto", "io.prometheus.client.MetricFamily"),
                    ("encoding", "delimited"),
                ],
            ),
        }
    }
}

fn starts_with(text: &str, start: &str) -> bool {
    let found = text.get(..start.len());
    start.ends_with('/') && found.is_some_and(|found| found.eq_ignore_ascii_case(start))
}

/// Parts between separators that are not in quotes.
fn parts(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    let ends = move |character| {
        quoted ^= character == '"';
        character == separator && !quoted
    };
    text.split(ends).map(str::trim)
}

/// A weight in thousandths; a range with another one is as good as not there.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn weight(text: &str) -> Option<u16> {
    let weight: f32 = text.parse().ok()?;
    (0.0..=1.0)
        .contains(&weight)
        .then(|| (weight * 1000.0).round() as u16)
}

#[cfg(test)]
mod tests {
    use super::*;
    use Format::{OpenMetrics, Protobuf, Text};

    const PROTO: &str = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited";

    #[test]
    fn prometheus_gets_what_it_prefers() {
        for (accept, format) in [
            (
                "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
                 text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                OpenMetrics,
            ),
            (
                "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
                 application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,\
                 text/plain;version=0.0.4;q=0.2,*/*;q=0.1",
                OpenMetrics,
            ),
            (
                "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.6,text/plain;version=0.0.4;q=0.5,\
                 application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.4,*/*;q=0.3",
                Text,
            ),
            ("text/plain;version=0.0.4;q=1,*/*;q=0.1", Text),
        ] {
            assert_eq!(Format::preferred(accept), format, "{accept}");
        }
        let rest = "application/openmetrics-text;version=1.0.0;q=0.8,application/openmetrics-text;version=0.0.1;q=0.75,\
                    text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        assert_eq!(Format::preferred(&format!("{PROTO},{rest}")), Protobuf);
        assert_eq!(
            Format::preferred(&format!("{PROTO};q=0.9,{rest}")),
            Protobuf
        );
        assert_eq!(
            Format::preferred(&format!("{PROTO};q=0.7,{rest}")),
            OpenMetrics
        );
    }

    #[test]
    fn who_does_not_care_gets_the_classic_text() {
        for accept in [
            "",
            "*/*",
            "text/*",
            "text/plain",
            "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
            "application/json",
            "text/plain;version=1.0.0",
            "application/openmetrics-text;version=0.0.1",
            "application/openmetrics-text;q=0",
            "application/openmetrics-text;q=2",
            "text/plain, application/openmetrics-text",
            "application/vnd.google.protobuf",
            "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=text",
            "*/*;q=0",
            ",;,=\";\"q",
        ] {
            assert_eq!(Format::preferred(accept), Text, "{accept}");
        }
    }

    #[test]
    fn weights_exactness_and_order_decide() {
        for (accept, format) in [
            ("*/*, application/openmetrics-text", OpenMetrics),
            ("application/openmetrics-text, text/plain", OpenMetrics),
            ("application/*", OpenMetrics),
            (
                "text/plain;q=0.9, application/OpenMetrics-Text; Version=\"1.0.0\"; charset=utf-8; Q=0.95",
                OpenMetrics,
            ),
            ("text/plain;q=0, */*;q=0.1", OpenMetrics),
            (
                "application/openmetrics-text;q=0.9, application/openmetrics-text;version=1.0.0;q=0.1, text/plain;q=0.5",
                Text,
            ),
            (
                "application/json;note=\"text/plain, x\", application/openmetrics-text;q=0.1",
                OpenMetrics,
            ),
        ] {
            assert_eq!(Format::preferred(accept), format, "{accept}");
        }
    }
}
