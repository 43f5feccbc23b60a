//! `Accept-Encoding` (RFC 9110 §12.5.3) compared.

use crate::scan::compare_in_any_case;
use crate::selecting::append_combined;
use crate::weight::{Weighted, WeightedList};

/// Appends the normal form: the codings that are accepted, in lower case and sorted, each once, no blanks, of any weight
/// but 0; `x-gzip` is `gzip` and `x-compress` is `compress` (§8.4.1). An exclusion stays where it says more than not
/// to list the coding: `identity;q=0`, any beside `*`, and `*;q=0`, beside which `identity` stays too. What is accepted
/// and excluded at once is excluded. What is malformed or too long to be read is only combined.
pub fn append_normal_form<'a>(lines: impl Iterator<Item = &'a [u8]> + Clone, out: &mut Vec<u8>) {
    let Some(mut list) = WeightedList::read(lines.clone()) else {
        return append_combined(lines, out);
    };
    for member in list.as_mut_slice() {
        if member.is(b"x-gzip") || member.is(b"x-compress") {
            member.name = member.name.get(2..).unwrap_or_default();
        }
    }
    list.as_mut_slice().sort_unstable_by(|one, other| {
        let by_name = compare_in_any_case(one.name, other.name);
        by_name.then(one.thousandths.cmp(&other.thousandths))
    });
    let codings = list.as_slice().chunk_by(|one, other| one.is(other.name));
    let codings = codings.filter_map(<[Weighted<'_>]>::first);
    let rest = codings
        .clone()
        .find(|coding| coding.name == b"*")
        .map(|rest| rest.thousandths > 0);
    let mut is_first = true;
    for coding in codings {
        let is_accepted = coding.thousandths > 0;
        let is_default = match coding.name {
            b"*" => false,
            name if name.eq_ignore_ascii_case(b"identity") => is_accepted == (rest != Some(false)),
            _ => !is_accepted && rest != Some(true),
        };
        if is_default {
            continue;
        }
        if !is_first {
            out.push(b',');
        }
        is_first = false;
        out.extend(coding.name.iter().map(u8::to_ascii_lowercase));
        if !is_accepted {
            out.extend_from_slice(b";q=0");
        }
    }
}
