//! JSON objects, written field by field (RFC 8259).

use std::fmt::Write;

use base::Span;

use crate::exposition::Value;

/// An object being written. [`close`](Self::close) ends it.
pub(crate) struct Object<'a> {
    text: &'a mut String,
    empty: bool,
}

impl<'a> Object<'a> {
    pub(crate) fn open(text: &'a mut String) -> Self {
        text.push('{');
        Self { text, empty: true }
    }

    pub(crate) fn close(self) {
        self.text.push('}');
    }

    pub(crate) fn string(&mut self, name: &str, value: &str) {
        self.name(name);
        write_string(self.text, value);
    }

    pub(crate) fn count(&mut self, name: &str, value: u64) {
        self.value(name, Value::Count(value));
    }

    pub(crate) fn flag(&mut self, name: &str, value: bool) {
        self.name(name);
        self.text.push_str(if value { "true" } else { "false" });
    }

    pub(crate) fn signed(&mut self, name: &str, value: i64) {
        self.value(name, Value::Signed(value));
    }

    /// A number, or `null` where it is none.
    pub(crate) fn real(&mut self, name: &str, value: f64) {
        if value.is_finite() {
            self.value(name, Value::Real(value));
        } else {
            self.null(name);
        }
    }

    /// Seconds, or `null`.
    pub(crate) fn span(&mut self, name: &str, value: Option<Span>) {
        match value {
            Some(span) => self.value(name, Value::Span(span)),
            None => self.null(name),
        }
    }

    pub(crate) fn object(&mut self, name: &str) -> Object<'_> {
        self.name(name);
        Object::open(self.text)
    }

    /// A list of objects, each written by `write`.
    pub(crate) fn objects<T>(
        &mut self,
        name: &str,
        items: impl IntoIterator<Item = T>,
        mut write: impl FnMut(&mut Object<'_>, T),
    ) {
        self.name(name);
        self.text.push('[');
        for (at, item) in items.into_iter().enumerate() {
            if at > 0 {
                self.text.push(',');
            }
            let mut object = Object::open(self.text);
            write(&mut object, item);
            object.close();
        }
        self.text.push(']');
    }

    fn null(&mut self, name: &str) {
        self.name(name);
        self.text.push_str("null");
    }

    fn value(&mut self, name: &str, value: Value) {
        self.name(name);
        // Writing to a string cannot fail.
        let _ = write!(self.text, "{value}");
    }

    fn name(&mut self, name: &str) {
        if !std::mem::take(&mut self.empty) {
            self.text.push(',');
        }
        write_string(self.text, name);
        self.text.push(':');
    }
}

/// RFC 8259 section 7: quotes, backslashes and everything below U+0020 are escaped; and what else ends lines or steers terminals.
fn write_string(text: &mut String, value: &str) {
    let plain = |byte: u8| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\');
    text.push('"');
    let mut rest = value;
    loop {
        let end = rest.bytes().position(|byte| !plain(byte));
        let (run, special) = rest.split_at(end.unwrap_or(rest.len()));
        text.push_str(run);
        let mut special = special.chars();
        let Some(character) = special.next() else {
            break;
        };
        write_special(text, character);
        rest = special.as_str();
    }
    text.push('"');
}

fn write_special(text: &mut String, character: char) {
    match character {
        '"' => text.push_str("\\\""),
        '\\' => text.push_str("\\\\"),
        '\n' => text.push_str("\\n"),
        '\r' => text.push_str("\\r"),
        '\t' => text.push_str("\\t"),
        c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') => {
            let _ = write!(text, "\\u{:04x}", u32::from(c));
        }
        c => text.push(c),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_ends_lines_or_steers_terminals_is_escaped() {
        let mut text = String::new();
        write_string(
            &mut text,
            "\0\n\u{1b}\u{7f}\u{85}\u{9b}\u{2028}\u{2029}\u{e9}",
        );
        let escaped = r#""\u0000\n\u001b\u007f\u0085\u009b\u2028\u2029"#;
        assert_eq!(text, format!("{escaped}\u{e9}\""));
    }

    proptest! {
        #[test]
        fn any_string_reads_back(value in any::<String>()) {
            let mut text = String::new();
            let mut json = Object::open(&mut text);
            json.string("v", &value);
            json.close();
            let read: serde_json::Value = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(read["v"].as_str(), Some(value.as_str()));
        }

        #[test]
        fn any_number_reads_back(value in any::<f64>(), signed in any::<i64>()) {
            let mut text = String::new();
            let mut json = Object::open(&mut text);
            json.real("v", value);
            json.signed("s", signed);
            json.close();
            let read: serde_json::Value = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(read["v"].as_f64(), Some(value).filter(|value| value.is_finite()));
            prop_assert_eq!(read["s"].as_i64(), Some(signed));
        }
    }
}
