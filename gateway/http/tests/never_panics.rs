//! No bytes make a parser panic, or say what cannot be: kept examples of every grammar, changed at random, are put through all
//! parsers.

mod changes;
mod claims;

use changes::{corpus, each_changed};
use claims::CLAIMS;

const CHANGES_PER_EXAMPLE: usize = 2_000;

#[test]
fn changed_examples_do_not_panic() {
    each_changed(&corpus(), CHANGES_PER_EXAMPLE, |text| {
        CLAIMS.iter().for_each(|claim| claim(text));
    });
}
