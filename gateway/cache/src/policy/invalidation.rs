//! What an answer makes of what is stored under other keys than its own (RFC 9111 §4.4).

use http::{Method, Name, Response};

/// Whether an answer of this status to a request of this method invalidates what is stored for its target: a 2xx or 3xx
/// to a method that is not known to be safe.
#[must_use]
pub fn invalidates(method: Method, status: u16) -> bool {
    let is_safe = matches!(
        method,
        Method::Get | Method::Head | Method::Options | Method::Trace
    );
    !is_safe && (200..400).contains(&status)
}

/// The targets, path and query, that such an answer invalidates beside its own: those of `Location` and
/// `Content-Location` at the request's origin, which is told by its `scheme`, `host` (lower case, with its port if any)
/// and `target`. At most two.
#[must_use]
pub fn invalidated_targets(
    response: &Response<'_>,
    scheme: &str,
    host: &[u8],
    target: &[u8],
) -> Vec<Vec<u8>> {
    let origin = Origin { scheme, host };
    [Name::Location, Name::ContentLocation]
        .into_iter()
        .filter_map(|name| response.fields.first(name))
        .filter_map(|reference| origin.target_of(reference, target))
        .collect()
}

/// Whether `Content-Location` is there once and is the request's own target.
pub(super) fn is_located_at(
    response: &Response<'_>,
    scheme: &str,
    host: &[u8],
    target: &[u8],
) -> bool {
    let fields = &response.fields;
    let origin = Origin { scheme, host };
    let reference = fields.first(Name::ContentLocation);
    let found = reference.and_then(|reference| origin.target_of(reference, target));
    !fields.is_repeated(Name::ContentLocation) && found.is_some_and(|found| found == target)
}

struct Origin<'a> {
    scheme: &'a str,
    host: &'a [u8],
}

impl Origin<'_> {
    /// Resolves a reference against a target of this origin (RFC 3986 §5.2); `None` where it leads to another.
    fn target_of(&self, reference: &[u8], base: &[u8]) -> Option<Vec<u8>> {
        let reference = until(reference, b"#");
        let relative = match split_scheme(reference) {
            Some((scheme, rest)) => {
                let is_ours = scheme.eq_ignore_ascii_case(self.scheme.as_bytes());
                (is_ours && rest.starts_with(b"//")).then_some(rest)?
            }
            None => reference,
        };
        let Some(rest) = relative.strip_prefix(b"//") else {
            return Some(resolved(relative, base));
        };
        let authority = until(rest, b"/?");
        let path = rest.get(authority.len()..).unwrap_or_default();
        self.is_at(authority).then(|| joined(b"/", path))
    }

    fn is_at(&self, authority: &[u8]) -> bool {
        let without_port = |text| self.without_default_port(text);
        without_port(authority).eq_ignore_ascii_case(without_port(self.host))
    }

    fn without_default_port<'a>(&self, authority: &'a [u8]) -> &'a [u8] {
        let port: &[u8] = match self.scheme {
            "https" => b":443",
            _ => b":80",
        };
        let stripped = authority.strip_suffix(port);
        stripped
            .or_else(|| authority.strip_suffix(b":"))
            .unwrap_or(authority)
    }
}

/// A reference without scheme and authority (§5.2.2).
fn resolved(reference: &[u8], base: &[u8]) -> Vec<u8> {
    let base_path = until(base, b"?");
    match reference {
        [] => base.to_vec(),
        [b'?', ..] => [base_path, reference].concat(),
        [b'/', ..] => joined(b"", reference),
        _ => {
            let last = base_path.iter().rposition(|&byte| byte == b'/');
            let folder = last.and_then(|at| base_path.get(..=at)).unwrap_or(b"/");
            joined(folder, reference)
        }
    }
}

/// `rest`, a path and perhaps a query, behind `folder`, without dot segments. An empty path is `/`.
fn joined(folder: &[u8], rest: &[u8]) -> Vec<u8> {
    let path = until(rest, b"?");
    let query = rest.get(path.len()..).unwrap_or_default();
    let path = if path.starts_with(b"/") {
        path.to_vec()
    } else {
        [folder, path].concat()
    };
    let mut target = without_dots(&path);
    target.extend_from_slice(query);
    target
}

/// RFC 3986 §5.2.4, of a path that begins with a slash.
fn without_dots(path: &[u8]) -> Vec<u8> {
    let mut kept: Vec<&[u8]> = Vec::new();
    let mut ends_in_folder = false;
    for segment in path.split(|&byte| byte == b'/').skip(1) {
        ends_in_folder = matches!(segment, b"." | b"..");
        match segment {
            b"." => {}
            b".." => drop(kept.pop()),
            _ => kept.push(segment),
        }
    }
    if ends_in_folder {
        kept.push(b"");
    }
    let mut target = Vec::with_capacity(path.len());
    for segment in kept {
        target.push(b'/');
        target.extend_from_slice(segment);
    }
    target
}

/// The scheme before a colon, and what follows it (§3.1).
fn split_scheme(reference: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = reference.iter().position(|&byte| byte == b':')?;
    let (scheme, rest) = reference.split_at_checked(end)?;
    let is_first = scheme.first().is_some_and(u8::is_ascii_alphabetic);
    let is_inner = |byte: &u8| byte.is_ascii_alphanumeric() || b"+-.".contains(byte);
    (is_first && scheme.iter().all(is_inner)).then_some((scheme, rest.get(1..)?))
}

/// `text` up to the first of `ends`.
fn until<'a>(text: &'a [u8], ends: &[u8]) -> &'a [u8] {
    let end = text.iter().position(|byte| ends.contains(byte));
    end.and_then(|end| text.get(..end)).unwrap_or(text)
}
