//! From a URL and header lines to an address and the bytes of a request.

use std::fs;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};

use super::arguments::{LoadArguments, Usage};

/// A URL in its parts.
#[derive(Debug, PartialEq, Eq)]
struct Url<'a> {
    /// As it stands in Host.
    authority: &'a str,
    /// Without brackets.
    host: &'a str,
    port: u16,
    /// Path and query.
    target: String,
}

/// Where to send what.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Target {
    /// Host and port as written.
    pub(crate) authority: String,
    host: String,
    port: u16,
    /// The request as it goes out, but for its key.
    pub(crate) request: Vec<u8>,
    /// The one to the other target, and its share.
    pub(crate) mixed: Option<(f64, Vec<u8>)>,
}

impl Target {
    /// Reads the URL and writes the request.
    pub(crate) fn new(arguments: &LoadArguments) -> Result<Self, Usage> {
        let mut url = parse(&arguments.url)?;
        let body = arguments.body.as_ref().map(|file| {
            fs::read(file).map_err(|error| Usage(format!("{}: {error}", file.display())))
        });
        let body = body.transpose()?;
        let mut headers = arguments.headers.clone();
        if arguments.close {
            headers.push("Connection: close".to_owned());
        }
        let write = |url: &Url<'_>| request(&arguments.method, url, &headers, body.as_deref());
        let main = write(&url)?;
        let mixed = match &arguments.mix {
            Some(mix) => {
                check(&mix.path).map_err(|what| Usage(format!("--mix {}: {what}", mix.path)))?;
                url.target.clone_from(&mix.path);
                Some((mix.share, write(&url)?))
            }
            None => None,
        };
        Ok(Self {
            authority: url.authority.to_owned(),
            host: url.host.to_owned(),
            port: url.port,
            request: main,
            mixed,
        })
    }

    /// The host's addresses.
    pub(crate) fn resolve(&self) -> io::Result<Vec<SocketAddr>> {
        Ok((self.host.as_str(), self.port).to_socket_addrs()?.collect())
    }
}

fn parse(url: &str) -> Result<Url<'_>, Usage> {
    let fault = |what: &str| Usage(format!("invalid URL {url:?}: {what}"));
    let rest = match url.split_once("://") {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => rest,
        Some((scheme, _)) if scheme.eq_ignore_ascii_case("https") => {
            return Err(fault("TLS is not spoken, http:// is"));
        }
        _ => return Err(fault("it begins with http://")),
    };
    let rest = rest.split('#').next().unwrap_or_default();
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, target) = rest.split_at(end);
    if authority.is_empty() || authority.contains('@') {
        return Err(fault("it needs a host, and takes no user"));
    }
    check(rest).map_err(fault)?;
    let (host, port) = split_port(authority).ok_or_else(|| fault("its port is no number"))?;
    let target = match target.as_bytes().first() {
        Some(b'/') => target.to_owned(),
        _ => format!("/{target}"),
    };
    Ok(Url {
        authority,
        host,
        port,
        target,
    })
}

fn check(target: &str) -> Result<(), &'static str> {
    match target.bytes().all(|byte| byte.is_ascii_graphic()) {
        true => Ok(()),
        false => Err("other bytes than visible ASCII are percent-encoded"),
    }
}

/// Host and port of `host`, `host:80`, `[::1]` and `[::1]:80`.
fn split_port(authority: &str) -> Option<(&str, u16)> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(literal) => literal.split_once(']')?,
        None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
    };
    match port {
        "" => Some((host, 80)),
        _ => Some((host, port.strip_prefix(':')?.parse().ok()?)),
    }
}

fn request(
    method: &str,
    url: &Url<'_>,
    headers: &[String],
    body: Option<&[u8]>,
) -> Result<Vec<u8>, Usage> {
    let mut lines = Vec::with_capacity(headers.len());
    for header in headers {
        lines.push(field(header)?);
    }
    let own_host = lines
        .iter()
        .any(|(name, _)| name.eq_ignore_ascii_case("host"));
    let mut text = format!("{method} {} HTTP/1.1\r\n", url.target);
    if !own_host {
        text.push_str(&format!("Host: {}\r\n", url.authority));
    }
    for (name, value) in lines {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    if let Some(body) = body {
        text.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    text.push_str("\r\n");
    let mut bytes = text.into_bytes();
    bytes.extend_from_slice(body.unwrap_or_default());
    Ok(bytes)
}

/// Name and value of a header line (RFC 9110 §5.1, §5.5).
fn field(line: &str) -> Result<(&str, &str), Usage> {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    let visible = |byte: u8| byte == b'\t' || (byte >= b' ' && byte != 0x7f);
    line.split_once(':')
        .map(|(name, value)| (name, value.trim()))
        .filter(|(name, value)| {
            !name.is_empty() && name.bytes().all(token) && value.bytes().all(visible)
        })
        .ok_or_else(|| Usage(format!("{line:?} is no header field")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_come_apart() {
        let parts = |url| parse(url).map(|url| (url.host.to_owned(), url.port, url.target));
        let whole = |host: &str, port, target: &str| Ok((host.to_owned(), port, target.to_owned()));
        assert_eq!(parts("http://a.example"), whole("a.example", 80, "/"));
        assert_eq!(parts("HTTP://a:81/b?c#d"), whole("a", 81, "/b?c"));
        assert_eq!(parts("http://[::1]:81?c"), whole("::1", 81, "/?c"));
        assert_eq!(parts("http://[::1]"), whole("::1", 80, "/"));
        for url in [
            "a.example",
            "https://a/",
            "ftp://a/",
            "http://",
            "http:///x",
            "http://u@a/",
            "http://a:b/",
            "http://a:99999/",
            "http://a/b c",
            "http://a/\u{e9}",
            "http://[::1",
            "http://[::1]x",
        ] {
            assert!(parts(url).is_err(), "{url}");
        }
    }

    #[test]
    fn the_request_is_wrks() {
        let text = |headers: &[&str]| {
            let headers: Vec<String> = headers.iter().map(|line| (*line).to_owned()).collect();
            let url = parse("http://a:81/b").unwrap();
            request("GET", &url, &headers, None).map(|bytes| String::from_utf8(bytes).unwrap())
        };
        assert_eq!(text(&[]).unwrap(), "GET /b HTTP/1.1\r\nHost: a:81\r\n\r\n");
        assert_eq!(
            text(&["X-Y:  z ", "host: other"]).unwrap(),
            "GET /b HTTP/1.1\r\nX-Y: z\r\nhost: other\r\n\r\n"
        );
        let url = parse("http://a/{key}").unwrap();
        assert_eq!(
            request("PUT", &url, &[], Some(b"body")).unwrap(),
            b"PUT /{key} HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody"
        );
        for line in ["no colon", ": v", "a b: c", "a: b\r\nc: d"] {
            assert!(text(&[line]).is_err(), "{line}");
        }
    }
}
