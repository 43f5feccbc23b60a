//! `Accept-Language` (RFC 9110 §12.5.4) compared, and put to stored answers.

use crate::scan::members;
use crate::selecting::append_combined;
use crate::weight::{Weighted, WeightedList};

/// Appends the normal form: language ranges in lower case with their weights, heaviest first and those of one weight by
/// name, each once, no blanks. One of weight 0 stays: it excludes. What is malformed or too long to be read is only
/// combined.
pub fn append_normal_form<'a>(lines: impl Iterator<Item = &'a [u8]> + Clone, out: &mut Vec<u8>) {
    let Some(mut list) = WeightedList::read(lines.clone()) else {
        return append_combined(lines, out);
    };
    list.as_mut_slice().sort_unstable_by(Weighted::compare);
    let mut before: Option<&Weighted<'_>> = None;
    for member in list.as_slice() {
        if before.is_some_and(|before| before.compare(member).is_eq()) {
            continue;
        }
        if before.is_some() {
            out.push(b',');
        }
        out.extend(member.name.iter().map(u8::to_ascii_lowercase));
        append_weight(member.thousandths, out);
        before = Some(member);
    }
}

/// The weight, 0 to 1000, of a `Content-Language` value for a request with these lines: of its languages the best,
/// each weighed by the longest range that it is or begins with (RFC 4647 §3.3.1), `*` the shortest. A range is not cut
/// short: who asks for `en-US` alone did not ask for `en`. `None` where no range speaks of it, where it has no
/// language, and where the lines are malformed; what weighs 0 is not acceptable.
#[must_use]
pub fn weight<'a>(lines: impl Iterator<Item = &'a [u8]>, content_language: &[u8]) -> Option<u16> {
    weight_in(WeightedList::read(lines)?.as_slice(), content_language)
}

/// The weight of the range liked best, 0 to 1000. `None` where there is none, and where the lines are malformed.
#[must_use]
pub fn heaviest<'a>(lines: impl Iterator<Item = &'a [u8]>) -> Option<u16> {
    let list = WeightedList::read(lines)?;
    list.as_slice().iter().map(|range| range.thousandths).max()
}

/// Which of the stored answers' `Content-Language` values (`b""` for none) the weights prefer; of equals the first.
/// `None` if none is acceptable.
#[must_use]
pub fn prefers<'a>(lines: impl Iterator<Item = &'a [u8]>, candidates: &[&[u8]]) -> Option<usize> {
    let list = WeightedList::read(lines)?;
    let mut best = None;
    let mut best_weight = 0;
    for (at, candidate) in candidates.iter().enumerate() {
        let weight = weight_in(list.as_slice(), candidate).unwrap_or(0);
        if weight > best_weight {
            best = Some(at);
            best_weight = weight;
        }
    }
    best
}

fn weight_in(ranges: &[Weighted<'_>], content_language: &[u8]) -> Option<u16> {
    members(content_language)
        .filter(|language| !language.is_empty())
        .filter_map(|language| {
            let matching = ranges
                .iter()
                .filter_map(|range| Some((specificity(range.name, language)?, range.thousandths)));
            matching.max().map(|(_, weight)| weight)
        })
        .max()
}

/// How long a range is that matches `language`; 0 for `*`.
fn specificity(range: &[u8], language: &[u8]) -> Option<usize> {
    if range == b"*" {
        return Some(0);
    }
    let (start, rest) = language.split_at_checked(range.len())?;
    let is_match = start.eq_ignore_ascii_case(range) && matches!(rest.first(), None | Some(b'-'));
    is_match.then_some(range.len())
}

/// `;q=0.5`; nothing for 1.
fn append_weight(thousandths: u16, out: &mut Vec<u8>) {
    if thousandths >= 1000 {
        return;
    }
    out.extend_from_slice(b";q=0");
    if thousandths > 0 {
        out.push(b'.');
    }
    let mut rest = thousandths;
    while rest > 0 {
        out.push(b'0' + (rest / 100) as u8);
        rest = rest % 100 * 10;
    }
}
