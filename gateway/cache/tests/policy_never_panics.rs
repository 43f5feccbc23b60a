//! No heads make the policy panic, or say what cannot be: kept examples, changed at random, are judged.

#[path = "../../http/tests/changes/mod.rs"]
mod changes;
mod claims;

use changes::{corpus_of, each_changed};

const CHANGES_PER_EXAMPLE: usize = 20_000;

#[test]
fn changed_examples_are_judged() {
    each_changed(&corpus_of("policy"), CHANGES_PER_EXAMPLE, claims::policy);
}
