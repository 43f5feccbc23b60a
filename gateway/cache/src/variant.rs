//! Which requests a stored answer was chosen for (RFC 9111 §4.1).

use http::vary::Vary;
use http::{Fields, Name, accept_language, selecting};

/// The selecting fields of a stored answer: the names its `Vary` lists, and what the request that it answers had in them,
/// in normal form.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Variant {
    /// In lower case, sorted, each ended by NUL, which no name holds.
    names: Box<[u8]>,
    /// As [`Variant::select`] writes it.
    signature: Box<[u8]>,
}

const END: u8 = 0;
const PRESENT: u8 = 1;

impl Variant {
    /// The variant that an answer with these `Vary` lines is of, for the request with these fields. `None` for `*`: no
    /// later request is ever known to match.
    pub fn of<'a>(vary: impl Iterator<Item = &'a [u8]>, request: &Fields<'_>) -> Option<Self> {
        let Vary::Names(names) = Vary::read(vary) else {
            return None;
        };
        let mut text = Vec::new();
        for name in names.as_slice() {
            text.extend(name.iter().map(u8::to_ascii_lowercase));
            text.push(END);
        }
        let mut variant = Self {
            names: text.into(),
            signature: Box::default(),
        };
        let mut signature = Vec::new();
        variant.select(request, &mut signature);
        variant.signature = signature.into();
        Some(variant)
    }

    /// The answer does not vary.
    #[must_use]
    #[inline]
    pub fn is_plain(&self) -> bool {
        self.names.is_empty()
    }

    /// Writes what a request has in the fields that this answer varies by: of two requests with the same bytes here it
    /// chooses the same. Values hold no NUL, so nothing in one passes for the end of it; absent is not empty.
    pub fn select(&self, request: &Fields<'_>, out: &mut Vec<u8>) {
        out.clear();
        for name in self.names() {
            append_field(name, request, out);
        }
    }

    /// Whether `selected`, written by [`select`](Self::select) for the same names, chooses this answer.
    #[must_use]
    pub fn is(&self, selected: &[u8]) -> bool {
        *self.signature == *selected
    }

    /// Whether both vary by the same fields.
    #[must_use]
    pub fn varies_as(&self, other: &Self) -> bool {
        self.names == other.names
    }

    /// Whether a request is chosen but for its `Accept-Language`, which this answer varies by.
    #[must_use]
    pub(crate) fn is_but_for_language(&self, request: &Fields<'_>, scratch: &mut Vec<u8>) -> bool {
        let mut varies = false;
        let mut rest = &*self.signature;
        for name in self.names() {
            let end = rest.iter().position(|byte| *byte == END);
            let (value, behind) = rest.split_at(end.map_or(rest.len(), |end| end + 1));
            rest = behind;
            if Name::of(name) == Name::AcceptLanguage {
                varies = true;
                continue;
            }
            scratch.clear();
            append_field(name, request, scratch);
            if value != scratch.as_slice() {
                return false;
            }
        }
        varies
    }

    /// The signature, to tell the fetches of one key apart.
    #[must_use]
    pub fn signature(&self) -> &[u8] {
        &self.signature
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        self.names.len() + self.signature.len()
    }

    fn names(&self) -> impl Iterator<Item = &[u8]> {
        self.names
            .split(|byte| *byte == END)
            .filter(|name| !name.is_empty())
    }
}

/// Whether a request likes no language better than an answer in `language`.
pub(crate) fn is_first_choice(request: &Fields<'_>, language: &[u8]) -> bool {
    let lines = || request.all(Name::AcceptLanguage);
    let weight = accept_language::weight(lines(), language);
    weight.is_some_and(|weight| weight > 0 && Some(weight) == accept_language::heaviest(lines()))
}

/// What `Connection` lists stays here (RFC 9110 §7.6.1): the origin chose as if it were not there.
fn append_field(name: &[u8], request: &Fields<'_>, out: &mut Vec<u8>) {
    let known = Name::of(name);
    let passes = !request.is_listed(name);
    let lines = request
        .iter()
        .filter(|(_, written, _)| passes && written.eq_ignore_ascii_case(name))
        .map(|(_, _, value)| value);
    let mut peek = lines.clone();
    if peek.next().is_some() {
        out.push(PRESENT);
        selecting::append_normal_form(known, lines, out);
    }
    out.push(END);
}
