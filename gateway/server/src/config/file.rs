//! Reading the TOML file into the sheet.

use std::borrow::Cow;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::fault::{Fault, Source};
use super::keys::{self, Section};
use super::kind::{Raw, Refused};
use super::sheet::{Sheet, brackets, unknown_key, unknown_section};

/// Reads `text` into the sheet and adds what is wrong to `faults`.
pub(super) fn read(path: &Arc<PathBuf>, text: &str, sheet: &mut Sheet, faults: &mut Vec<Fault>) {
    let mut reader = Reader {
        path,
        text,
        sheet,
        faults,
    };
    match DeTable::parse(text) {
        Ok(table) => reader.document(table.get_ref()),
        Err(error) => {
            let at = error.span().unwrap_or(0..0);
            reader.fault(&at, error.message().to_owned());
        }
    }
}

struct Reader<'a> {
    path: &'a Arc<PathBuf>,
    text: &'a str,
    sheet: &'a mut Sheet,
    faults: &'a mut Vec<Fault>,
}

impl Reader<'_> {
    fn document(&mut self, table: &DeTable<'_>) {
        for (name, value) in table {
            match keys::section(name.get_ref()) {
                Some(section) => self.section(section, name, value),
                None => self.fault(&name.span(), unknown_section(name.get_ref())),
            }
        }
    }

    fn section(
        &mut self,
        section: &'static Section,
        name: &Spanned<Cow<'_, str>>,
        value: &Spanned<DeValue<'_>>,
    ) {
        match (value.get_ref(), section.repeated) {
            (DeValue::Table(table), false) => self.item(section, &name.span(), table),
            (DeValue::Array(array), true) => self.items(section, array),
            _ => {
                let message = format!("write {} and its keys below", brackets(section));
                self.fault(&name.span(), message);
            }
        }
    }

    fn items(&mut self, section: &'static Section, array: &[Spanned<DeValue<'_>>]) {
        for item in array {
            match item.get_ref() {
                DeValue::Table(table) => self.item(section, &item.span(), table),
                _ => self.fault(&item.span(), format!("expected {}", brackets(section))),
            }
        }
    }

    fn item(&mut self, section: &'static Section, at: &Range<usize>, table: &DeTable<'_>) {
        let source = self.source(at);
        let mut item = self.sheet.take(section, &source);
        for (name, value) in table {
            let Some(key) = section.key(name.get_ref()) else {
                self.fault(&name.span(), unknown_key(section, name.get_ref()));
                continue;
            };
            match key.kind.read(&raw(value.get_ref())) {
                Ok(read) => item.set(key, read, self.source(&name.span()), self.faults),
                Err(Refused { span, message }) => {
                    let at = span.unwrap_or_else(|| value.span());
                    self.fault(&at, format!("{}.{}: {message}", section.name, key.name));
                    item.refused.push(key.name);
                }
            }
        }
        self.sheet.put(item);
    }

    fn fault(&mut self, at: &Range<usize>, message: String) {
        let at = self.source(at);
        self.faults.push(Fault { at, message });
    }

    /// The place of a byte: lines and columns (in characters) from 1.
    fn source(&self, at: &Range<usize>) -> Source {
        let before = self.text.get(..at.start).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Source::File {
            path: Arc::clone(self.path),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }
}

fn raw(value: &DeValue<'_>) -> Raw {
    match value {
        DeValue::String(text) => Raw::Text(text.clone().into_owned()),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map_or(Raw::Other("a number too large"), Raw::Integer),
        DeValue::Float(_) => Raw::Other("a number with a fraction"),
        DeValue::Boolean(flag) => Raw::Flag(*flag),
        DeValue::Datetime(_) => Raw::Other("a date"),
        DeValue::Array(items) => Raw::List(
            items
                .iter()
                .map(|item| (item.span(), raw(item.get_ref())))
                .collect(),
        ),
        DeValue::Table(_) => Raw::Other("a table"),
    }
}
