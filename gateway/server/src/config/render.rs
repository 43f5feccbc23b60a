//! The effective configuration, written out.

use super::fault::Source;
use super::sheet::{Item, Placed, Sheet, brackets};

/// The effective configuration as TOML; values that are not defaults say where they came from.
pub(crate) fn effective(sheet: &Sheet) -> String {
    let sections: Vec<String> = sheet.items().map(effective_item).collect();
    sections.join("\n")
}

fn effective_item(item: &Item) -> String {
    let placed = item
        .section
        .keys
        .iter()
        .filter_map(|key| item.placed(key.name));
    let lines = placed.map(|Placed { key, value, source }| {
        let line = format!("{} = {value}", key.name);
        match source {
            Source::Default => format!("{line}\n"),
            _ => format!("{line:<40} # {source}\n"),
        }
    });
    let header = format!("{}\n", brackets(item.section));
    [header].into_iter().chain(lines).collect()
}
