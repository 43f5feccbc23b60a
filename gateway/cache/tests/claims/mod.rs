//! What holds of RFC 9111 for any heads: of a request, of the answer that is stored for it, and of a later one that freshens
//! it, one after the other in `bytes`. Replayed on kept examples and changes of them, and by the fuzz targets.

#![allow(unreachable_pub)] // of a test

use base::Wall;
use cache::Variant;
use cache::policy::{self, RequestFacts, Reuse, Rules, Terms, Trouble};
use http::{
    FieldTable, HeadLimits, Name, Parsed, Request, Response, parse_request, parse_response,
};

const RECEIVED: Wall = Wall::from_secs(1_795_253_880);
const TIMES: [Wall; 3] = [
    RECEIVED,
    Wall::from_secs(RECEIVED.as_secs() + 61),
    Wall::from_secs(u64::MAX),
];

pub fn policy(bytes: &[u8]) {
    let mut table = FieldTable::new();
    let Parsed::Whole(request) = parse_request(bytes, &mut table, &HeadLimits::default()) else {
        return;
    };
    let rest = bytes.get(request.length..).unwrap_or_default();
    let mut table = FieldTable::new();
    let Parsed::Whole(first) = parse_response(rest, &mut table, &HeadLimits::default()) else {
        return;
    };
    let rest = rest.get(first.length..).unwrap_or_default();
    let mut table = FieldTable::new();
    let second = match parse_response(rest, &mut table, &HeadLimits::default()) {
        Parsed::Whole(second) => Some(second),
        _ => None,
    };
    stored(&request, &first, second.as_ref());
}

fn stored(request: &Request<'_>, first: &Response<'_>, second: Option<&Response<'_>>) {
    let rules = Rules::default();
    let facts = RequestFacts::of(request, &rules);
    if let Some(variant) = Variant::of(first.fields.all(Name::Vary), &request.fields) {
        let mut selected = Vec::new();
        variant.select(&request.fields, &mut selected);
        assert!(variant.is(&selected), "an answer is for its own request");
    }
    let lines = policy::head_fields(first, RECEIVED, &rules);
    plain(&lines);
    let Ok(terms) = policy::storable(&facts, first, RECEIVED, RECEIVED, &rules) else {
        return;
    };
    judged(&facts, &terms, &rules);
    let _ = policy::is_not_modified(&request.fields, &terms, &lines);
    let _ = policy::range_applies(&request.fields, &terms, &lines);
    plain(&policy::validators(&terms, &lines));
    plain(&policy::range_if_same(&terms, &lines, &(0..1)));
    let Some(second) = second else {
        return;
    };
    let _ = policy::speaks_of(second, &terms, &lines);
    let _ = policy::head_says(second, &terms, &lines, Some(1));
    let before = (first.status, lines.as_slice());
    let (lines, terms) = policy::freshened(&facts, before, second, (RECEIVED, TIMES[1]), &rules);
    plain(&lines);
    if let Ok(terms) = terms {
        judged(&facts, &terms, &rules);
        plain(&policy::validators(&terms, &lines));
    }
}

/// What may not be used stale is not, and what is fresh has not passed its time.
fn judged(facts: &RequestFacts, terms: &Terms, rules: &Rules) {
    for now in TIMES {
        let reuse = policy::reuse(facts, terms, now);
        assert!(reuse != Reuse::Fresh || terms.lifetime.is_fresh(now));
        let is_stale = matches!(reuse, Reuse::StaleAllowed | Reuse::StaleWhileRevalidate);
        assert!(!is_stale || !terms.forbids_stale());
        let word = policy::stale_on_error(facts, terms, now, Trouble::Unreachable, rules);
        assert!(word.is_none() || !terms.forbids_stale());
    }
}

/// Lines that go into a head are lines, and none is a hop's own.
fn plain(lines: &[u8]) {
    let head = [b"HTTP/1.1 200 OK\r\n", lines, b"\r\n"].concat();
    let mut table = FieldTable::new();
    let limits = HeadLimits {
        head_bytes: head.len() + 1,
        ..HeadLimits::default()
    };
    match parse_response(&head, &mut table, &limits) {
        Parsed::Whole(response) => {
            assert_eq!(response.length, head.len());
            assert_eq!(response.fields.len(), policy::stored_lines(lines).count());
            let hop = Name::Connection.bit()
                | Name::TransferEncoding.bit()
                | Name::ContentLength.bit()
                | Name::KeepAlive.bit()
                | Name::Upgrade.bit();
            assert!(!response.fields.has_any(hop));
        }
        // A Date of ours may be one field too many.
        Parsed::Refused(refusal) => assert_eq!(refusal.reason, "too many fields"),
        Parsed::Partial => panic!("{}", head.escape_ascii()),
    }
}
