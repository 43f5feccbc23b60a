//! Entries against a plain list of answers, on random requests (RFC 9111 §4.1).

#![allow(clippy::unwrap_used, reason = "a test panics to fail")]

mod heads;
mod objects;

use std::sync::Arc;

use cache::{Entry, HeapMemory, Variant};
use heads::with_request;
use objects::{Put, varied};
use proptest::prelude::*;

/// For each selecting field the value a request has, if it has one.
type Values = [Option<&'static str>; 3];

const NAMES: [&str; 3] = ["A", "B-b", "c"];

fn values() -> impl Strategy<Value = Values> {
    let value = || prop::sample::select(vec![None, Some(""), Some("x"), Some("xy"), Some("y")]);
    [value(), value(), value()]
}

/// Which of the fields a `Vary` names.
fn vary() -> impl Strategy<Value = [bool; 3]> {
    any::<[bool; 3]>()
}

fn lines(values: &Values) -> Vec<String> {
    let pairs = NAMES.iter().zip(values);
    let line = |(name, value): (&&str, &Option<&str>)| Some(format!("{name}: {}", (*value)?));
    pairs.filter_map(line).collect()
}

fn with_values<T>(values: &Values, judge: impl FnOnce(&http::Request<'_>) -> T) -> T {
    let lines = lines(values);
    let lines: Vec<_> = lines.iter().map(String::as_str).collect();
    with_request("GET", &lines, judge)
}

fn variant(vary: [bool; 3], values: &Values) -> Variant {
    let names = NAMES.iter().zip(vary).rev();
    let names = names.filter_map(|(name, varies)| varies.then_some(name.as_bytes()));
    with_values(values, |request| Variant::of(names, &request.fields)).unwrap()
}

/// The values of the fields named.
fn of(vary: [bool; 3], values: &Values) -> Vec<Option<&'static str>> {
    let pairs = vary.into_iter().zip(values);
    let named = pairs.filter_map(|(varies, value)| varies.then_some(*value));
    named.collect()
}

proptest! {
    #[test]
    fn the_newest_answer_whose_fields_match_is_chosen(
        answers in prop::collection::vec((vary(), values()), 1..12),
        requests in prop::collection::vec(values(), 1..12),
    ) {
        let memory = HeapMemory::new(1 << 20);
        let mut entry: Option<Put> = None;
        let mut model: Vec<([bool; 3], Values, String)> = Vec::new();
        let mut scratch = Vec::new();
        for (n, (vary, values)) in answers.into_iter().enumerate() {
            let object = varied(&memory, "/", variant(vary, &values), &n.to_string());
            entry = Some(Arc::new(Entry::with(entry.as_deref(), object)));
            let entry = entry.as_ref().unwrap();
            model.retain(|(other, held, _)| *other != vary || of(vary, held) != of(vary, &values));
            model.insert(0, (vary, values, n.to_string()));
            prop_assert_eq!(entry.objects().len(), model.len());
            for request in &requests {
                let at = with_values(request, |request| entry.select(&request.fields, &mut scratch));
                let chosen = model.iter().position(|(vary, values, _)| of(*vary, values) == of(*vary, request));
                prop_assert_eq!(at, chosen);
                if let Some(at) = at {
                    prop_assert_eq!(&*entry.objects()[at].head.fields, model[at].2.as_bytes());
                }
            }
        }
    }
}
