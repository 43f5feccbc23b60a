//! Messages that stories are made of.

/// A GET of `target` from host `test`.
#[must_use]
pub fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: test\r\n\r\n")
}

/// The same with further fields, whole lines, each with its CRLF.
#[must_use]
pub fn get_with(target: &str, fields: &str) -> String {
    ask_with("GET", target, fields)
}

/// Likewise with another method.
#[must_use]
pub fn ask_with(method: &str, target: &str, fields: &str) -> String {
    format!("{method} {target} HTTP/1.1\r\nHost: test\r\n{fields}\r\n")
}

/// An answer of any status; one that may have a body says its length.
#[must_use]
pub fn answer(status: u16, fields: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let length = match status {
        204 | 304 => String::new(),
        _ => format!("Content-Length: {}\r\n", body.len()),
    };
    let head = format!("HTTP/1.1 {status} It\r\n{length}{fields}\r\n");
    [head.as_bytes(), body].concat()
}

/// A 200 with a Content-Length; `fields` are whole lines, each with its CRLF.
#[must_use]
pub fn ok(fields: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n{fields}\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// A body in chunks of the given pieces, with its last chunk and no trailers.
#[must_use]
pub fn chunked(pieces: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for piece in pieces {
        bytes.extend(format!("{:x}\r\n", piece.len()).as_bytes());
        bytes.extend(*piece);
        bytes.extend(b"\r\n");
    }
    bytes.extend(b"0\r\n\r\n");
    bytes
}
