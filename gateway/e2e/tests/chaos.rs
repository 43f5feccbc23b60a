//! A short storm: the whole one is `make chaos` (docs/testing.md).

use std::time::Duration;

use e2e::chaos::{Scenario, run};
use e2e::{Backend, both_drivers};

both_drivers!(no_byte_is_wrong_and_nothing_is_left_after_a_storm);

fn no_byte_is_wrong_and_nothing_is_left_after_a_storm(backend: Backend) {
    let scenario = Scenario::of(7, Duration::from_secs(4));
    let (report, ()) = run(&scenario, backend, |_| ());
    assert!(report.is_good(), "{report}");
    assert_eq!(report.unsteady(), 0, "{report}");
}
