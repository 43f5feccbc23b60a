//! An answer, read strictly: what is not exactly HTTP/1.1 is named, not repaired.

/// What ends a head.
pub(crate) const HEAD_END: &[u8] = b"\r\n\r\n";

/// Why there is no whole answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Broken {
    /// The connection ended before the first byte.
    Closed,
    /// The connection ended inside the answer.
    Truncated,
    /// The connection was reset.
    Reset,
    /// Patience ran out.
    Late,
    /// The bytes are not an answer.
    Malformed(String),
}

/// How the end of a body was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There can be no body.
    None,
    /// Content-Length.
    Length,
    /// Transfer-Encoding: chunked.
    Chunked,
    /// The end of the connection.
    Close,
}

/// One whole answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// Names as they came, values without surrounding white space.
    pub fields: Vec<(String, String)>,
    /// The 1xx answers before it.
    pub interim: Vec<Response>,
    /// The body, decoded.
    pub body: Vec<u8>,
    /// How the body's end was told.
    pub framing: Framing,
    /// Fields behind a chunked body.
    pub trailers: Vec<(String, String)>,
}

impl Response {
    /// The first value of a field, whatever its name's case.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&str> {
        let mut own = self.fields.iter();
        own.find(|(own, _)| own.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// Every value of a field.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.fields
            .iter()
            .filter(move |(own, _)| own.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// Whether Cache-Status says that the gateway answered from its store.
    #[must_use]
    pub fn is_hit(&self) -> bool {
        self.gateway_status()
            .split(';')
            .any(|part| part.trim() == "hit")
    }

    /// Whether Cache-Status says that the gateway asked the origin.
    #[must_use]
    pub fn is_forwarded(&self) -> bool {
        self.gateway_status()
            .split(';')
            .any(|part| part.trim().starts_with("fwd="))
    }

    /// A parameter of the gateway's own member of Cache-Status: `fwd`, `detail`, `ttl`; empty of one without a value.
    #[must_use]
    pub fn told(&self, parameter: &str) -> Option<&str> {
        let parts = self.gateway_status().split(';').skip(1);
        parts
            .map(|part| part.trim().split_once('=').unwrap_or((part.trim(), "")))
            .find_map(|(name, value)| (name == parameter).then_some(value))
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Our own member of Cache-Status, which is the last.
    fn gateway_status(&self) -> &str {
        let last = self.all("cache-status").last().unwrap_or_default();
        last.rsplit(", ")
            .next()
            .filter(|member| member.starts_with("ultragate"))
            .unwrap_or_default()
    }
}

pub(crate) fn framing(response: &Response) -> Result<Framing, Broken> {
    let (lengths, codings) = (
        response.all("content-length").count(),
        response.all("transfer-encoding").count(),
    );
    let bodiless = matches!(response.status, 101 | 204 | 304);
    match (lengths, codings) {
        (0, 1) if !bodiless && response.field("transfer-encoding") == Some("chunked") => {
            Ok(Framing::Chunked)
        }
        (1, 0) if response.field("content-length").and_then(decimal).is_none() => {
            Err(Broken::Malformed("content-length".to_owned()))
        }
        (_, 0) if bodiless => Ok(Framing::None),
        (1, 0) => Ok(Framing::Length),
        (0, 0) if response.field("connection") == Some("close") => Ok(Framing::Close),
        _ => Err(Broken::Malformed(format!(
            "framing of {:?}",
            response.fields
        ))),
    }
}

pub(crate) fn parse_head(head: &[u8]) -> Result<Response, Broken> {
    let mut lines = head
        .strip_suffix(HEAD_END)
        .unwrap_or(head)
        .split(|&byte| byte == b'\n');
    let first = without_cr(lines.next().unwrap_or_default())?;
    let status = first
        .strip_prefix(b"HTTP/1.1 ")
        .and_then(|rest| rest.split_at_checked(3))
        .filter(|(digits, rest)| {
            digits.iter().all(u8::is_ascii_digit) && rest.first() == Some(&b' ')
        })
        .and_then(|(digits, _)| std::str::from_utf8(digits).ok()?.parse().ok())
        .ok_or_else(|| malformed("status line", first))?;
    let mut fields = Vec::new();
    for line in lines {
        fields.push(parse_field(without_cr(line)?)?);
    }
    Ok(Response {
        status,
        fields,
        interim: Vec::new(),
        body: Vec::new(),
        framing: Framing::None,
        trailers: Vec::new(),
    })
}

/// A line of a head ends in CR, but for the last, whose end is cut off with the head's.
fn without_cr(line: &[u8]) -> Result<&[u8], Broken> {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.iter().any(|&byte| byte == b'\r' || byte == 0) {
        Err(malformed("line", line))
    } else {
        Ok(line)
    }
}

pub(crate) fn parse_field(line: &[u8]) -> Result<(String, String), Broken> {
    let text = std::str::from_utf8(line).map_err(|_| malformed("field", line))?;
    let (name, value) = text
        .split_once(':')
        .ok_or_else(|| malformed("field", line))?;
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || !name.bytes().all(token) {
        return Err(malformed("field name", line));
    }
    Ok((name.to_owned(), value.trim_matches([' ', '\t']).to_owned()))
}

pub(crate) fn chunk_size(digits: &[u8]) -> Option<usize> {
    let text = std::str::from_utf8(digits)
        .ok()?
        .trim_end_matches([' ', '\t']);
    text.bytes()
        .all(|byte| byte.is_ascii_hexdigit())
        .then(|| usize::from_str_radix(text, 16).ok())?
}

/// `1*DIGIT`, and nothing that a lenient reader would take for it.
pub(crate) fn decimal(text: &str) -> Option<usize> {
    text.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| text.parse().ok())?
}

pub(crate) fn malformed(what: &str, bytes: &[u8]) -> Broken {
    Broken::Malformed(format!("{what}: {}", bytes.escape_ascii()))
}

/// Where `needle` begins.
pub(crate) fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    bytes
        .windows(needle.len())
        .position(|window| window == needle)
}
