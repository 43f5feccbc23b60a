//! `Cache-Control` (RFC 9111 §5.2), of requests and of responses.

use crate::scan::{is_whole_token, members, number, token_end, trim};

/// The directives of all lines of a `Cache-Control` field. Unknown ones are ignored; of duplicates the more restrictive
/// counts; names in any case. An age is `Some(Ok(seconds))` when it is `1*DIGIT` (saturating; quoted digits are read),
/// `Some(Err(()))` when the directive is there with an invalid or missing value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct CacheControl {
    pub max_age: Option<Result<u64, ()>>,
    pub s_maxage: Option<Result<u64, ()>>,
    pub stale_while_revalidate: Option<Result<u64, ()>>,
    pub stale_if_error: Option<Result<u64, ()>>,
    /// `max-stale` without a value is `Some(Ok(u64::MAX))`.
    pub max_stale: Option<Result<u64, ()>>,
    pub min_fresh: Option<Result<u64, ()>>,
    pub no_store: bool,
    /// In either form; it is for the whole answer unless `no_cache_qualified`.
    pub no_cache: bool,
    /// There in its qualified form alone (RFC 9111 §5.2.2.4): it is for the fields that [`qualified_fields`] tells. A
    /// list that is empty or names anything but tokens is for the whole answer.
    pub no_cache_qualified: bool,
    /// In either form; it is for the whole answer unless `private_qualified`.
    pub private: bool,
    /// Likewise (RFC 9111 §5.2.2.7).
    pub private_qualified: bool,
    pub public: bool,
    pub must_revalidate: bool,
    pub proxy_revalidate: bool,
    pub must_understand: bool,
    pub immutable: bool,
    pub no_transform: bool,
    pub only_if_cached: bool,
}

impl CacheControl {
    /// Reads all lines of the field.
    ///
    /// A quoted string that does not end hides what follows it, so it counts as `no-store`.
    pub fn read<'a>(lines: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut read = Self::default();
        for line in lines {
            let mut rest = line;
            while !rest.is_empty() {
                let (directive, after) = next_directive(rest);
                match after {
                    Some(after) => rest = after,
                    None => {
                        read.no_store = true;
                        rest = b"";
                    }
                }
                read.directive(directive);
            }
        }
        read
    }

    /// Takes in one directive. Of one that restricts the name is enough, whatever follows it.
    fn directive(&mut self, text: &[u8]) {
        let (name, rest) = text.split_at(token_end(text, 0));
        let is = |other: &str| name.eq_ignore_ascii_case(other.as_bytes());
        let is_valid = rest.is_empty() || rest.first() == Some(&b'=');
        match name.len() {
            6 if is("public") => self.public |= is_valid,
            7 if is("max-age") => shorter(&mut self.max_age, seconds(rest)),
            7 if is("private") => {
                restrict(&mut self.private, &mut self.private_qualified, rest);
            }
            8 if is("no-store") => self.no_store = true,
            8 if is("no-cache") => {
                restrict(&mut self.no_cache, &mut self.no_cache_qualified, rest);
            }
            8 if is("s-maxage") => shorter(&mut self.s_maxage, seconds(rest)),
            9 if is("max-stale") => shorter(&mut self.max_stale, any_or_seconds(rest)),
            9 if is("min-fresh") => longer(&mut self.min_fresh, seconds(rest)),
            9 if is("immutable") => self.immutable |= is_valid,
            12 if is("no-transform") => self.no_transform = true,
            14 if is("stale-if-error") => shorter(&mut self.stale_if_error, seconds(rest)),
            14 if is("only-if-cached") => self.only_if_cached = true,
            15 if is("must-revalidate") => self.must_revalidate = true,
            15 if is("must-understand") => self.must_understand |= is_valid,
            16 if is("proxy-revalidate") => self.proxy_revalidate = true,
            22 if is("stale-while-revalidate") => {
                shorter(&mut self.stale_while_revalidate, seconds(rest));
            }
            _ => {}
        }
    }
}

/// A directive that may name fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Qualified {
    NoCache,
    Private,
}

impl Qualified {
    pub(crate) fn name(self) -> &'static [u8] {
        match self {
            Self::NoCache => b"no-cache",
            Self::Private => b"private",
        }
    }
}

/// The fields that the qualified forms of a directive name, as written, on all lines; lists that
/// [`CacheControl::read`] takes for the whole answer tell none.
pub fn qualified_fields<'a>(
    lines: impl Iterator<Item = &'a [u8]>,
    directive: Qualified,
) -> impl Iterator<Item = &'a [u8]> {
    lines
        .flat_map(Directives)
        .filter_map(move |text| {
            let (name, argument) = text.split_at(token_end(text, 0));
            let value = argument.strip_prefix(b"=")?;
            let is_named = name.eq_ignore_ascii_case(directive.name());
            (is_named && is_field_list(value)).then(|| unquoted(value))
        })
        .flat_map(members)
        .filter(|name| !name.is_empty())
}

/// The directives of a line.
struct Directives<'a>(&'a [u8]);

impl<'a> Iterator for Directives<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.0.is_empty() {
            return None;
        }
        let (directive, after) = next_directive(self.0);
        self.0 = after.unwrap_or_default();
        Some(directive)
    }
}

type Age = Result<u64, ()>;

/// The directive at the start of `text`, trimmed, and what follows its comma; nothing follows where a quoted string
/// does not end.
fn next_directive(text: &[u8]) -> (&[u8], Option<&[u8]>) {
    let mut is_quoted = false;
    let mut is_escaped = false;
    for (at, &byte) in text.iter().enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_quoted => is_escaped = true,
            b'"' => is_quoted = !is_quoted,
            b',' if !is_quoted => {
                let (directive, after) = text.split_at(at);
                return (trim(directive), after.get(1..));
            }
            _ => {}
        }
    }
    (trim(text), (!is_quoted).then_some(b""))
}

/// `=1*DIGIT`, or the same in double quotes.
fn seconds(argument: &[u8]) -> Age {
    let [b'=', value @ ..] = argument else {
        return Err(());
    };
    number(unquoted(value)).ok_or(())
}

/// Without its double quotes, where it stands in them.
fn unquoted(value: &[u8]) -> &[u8] {
    match value {
        [b'"', inner @ .., b'"'] => inner,
        _ => value,
    }
}

/// One more `no-cache` or `private`; the one for the whole answer outweighs those for fields.
fn restrict(is_there: &mut bool, is_qualified: &mut bool, argument: &[u8]) {
    let names_fields = argument.strip_prefix(b"=").is_some_and(is_field_list);
    *is_qualified = names_fields && (*is_qualified || !*is_there);
    *is_there = true;
}

/// Whether `value` is a list of at least one field name; one alone needs no quotes (RFC 9111 §5.2). `private=true` and
/// `no-cache=1` mean the whole answer to whoever writes so.
fn is_field_list(value: &[u8]) -> bool {
    match value {
        [b'"', list @ .., b'"'] => is_name_list(list),
        _ => is_whole_token(value) && !is_truth_value(value),
    }
}

fn is_truth_value(value: &[u8]) -> bool {
    let is_word = |word: &[u8]| value.eq_ignore_ascii_case(word);
    value.iter().all(u8::is_ascii_digit) || is_word(b"true") || is_word(b"false")
}

/// Whether `list` is tokens and commas, at least one token.
pub(crate) fn is_name_list(list: &[u8]) -> bool {
    let mut names = members(list).filter(|name| !name.is_empty()).peekable();
    names.peek().is_some() && names.all(is_whole_token)
}

fn any_or_seconds(argument: &[u8]) -> Age {
    if argument.is_empty() {
        Ok(u64::MAX)
    } else {
        seconds(argument)
    }
}

fn shorter(age: &mut Option<Age>, other: Age) {
    *age = Some(merged(*age, other, u64::min));
}

fn longer(age: &mut Option<Age>, other: Age) {
    *age = Some(merged(*age, other, u64::max));
}

/// An invalid one outweighs any other.
fn merged(age: Option<Age>, other: Age, stricter: impl Fn(u64, u64) -> u64) -> Age {
    match age {
        None => other,
        Some(age) => Ok(stricter(age?, other?)),
    }
}
