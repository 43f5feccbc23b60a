//! `docs/metrics.md` says what the names module says. `UPDATE=1` rewrites it.

use std::path::Path;

#[test]
fn the_metrics_page_is_fresh() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/metrics.md");
    let wanted = telemetry::names::reference_markdown();
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&page, &wanted).expect("the page is written");
    }
    let found = std::fs::read_to_string(&page).unwrap_or_default();
    assert!(found == wanted, "docs/metrics.md is stale: make docs");
}
