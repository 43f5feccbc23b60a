//! `uri-host [":" port]` (RFC 3986 §3.2.2, §3.2.3), the grammar of Host and of an absolute-form target's authority.

use std::net::Ipv6Addr;

use crate::scan::host_end;

/// Whether `text` names a host: not empty, no user information, brackets around an IPv6 address only, a port that fits.
#[inline]
pub(crate) fn is_authority(text: &[u8]) -> bool {
    if text.first() == Some(&b'[') {
        return is_bracketed(text);
    }
    let end = host_end(text, 0);
    match text.get(end) {
        None => end > 0,
        Some(b':') => end > 0 && text.get(end + 1..).is_some_and(is_port),
        Some(b'%') => is_escaped(text),
        Some(_) => false,
    }
}

/// A host with escapes in it (RFC 3986 §2.1), read from the start.
#[cold]
fn is_escaped(text: &[u8]) -> bool {
    let mut end = host_end(text, 0);
    while let Some([b'%', high, low]) = text.get(end..end + 3)
        && high.is_ascii_hexdigit()
        && low.is_ascii_hexdigit()
    {
        end = host_end(text, end + 3);
    }
    match text.get(end) {
        None => true,
        Some(b':') => text.get(end + 1..).is_some_and(is_port),
        Some(_) => false,
    }
}

#[cold]
fn is_bracketed(text: &[u8]) -> bool {
    let Some(end) = text.iter().position(|&byte| byte == b']') else {
        return false;
    };
    let (address, port) = (text.get(1..end), text.get(end + 1..));
    address
        .and_then(|address| std::str::from_utf8(address).ok())
        .is_some_and(|address| address.parse::<Ipv6Addr>().is_ok())
        && match port {
            Some([b':', digits @ ..]) => is_port(digits),
            rest => rest.is_some_and(<[u8]>::is_empty),
        }
}

/// Digits, none included (RFC 3986 §3.2.3), of a number below 65,536.
#[inline]
fn is_port(digits: &[u8]) -> bool {
    let mut port = 0u32;
    for &byte in digits {
        port = port * 10 + u32::from(byte.wrapping_sub(b'0'));
        if !byte.is_ascii_digit() || port > u32::from(u16::MAX) {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::is_authority;

    #[test]
    fn hosts_of_every_form() {
        for text in [
            "a",
            "example.org",
            "example.org:80",
            "example.org:",
            "127.0.0.1:65535",
            "[::1]",
            "[::1]:8080",
            "[2001:db8::192.0.2.1]",
            "a_b",
            "xn--bcher-kva.example",
            "a%41",
            "a!$&'()*+,;=",
        ] {
            assert!(is_authority(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn malformed_hosts() {
        for text in [
            "",
            ":80",
            "a:65536",
            "a:8x",
            "a:-1",
            "a:+1",
            "a: 1",
            "a:1:2",
            "u@a",
            "u:p@a",
            "a b",
            "a/",
            "a?b",
            "a#b",
            "a\\b",
            "[::1",
            "::1",
            "::1]",
            "[::1]a",
            "[::1]]",
            "[]",
            "[a]",
            "[::1%25eth0]",
            "a]",
            "a[",
            "[[::1]]",
            "a%4",
            "a%",
            "a%zz",
            "a\"b",
            "<a>",
            "[v1.a]",
            "a\tb",
            "a:99999999999999999999",
        ] {
            assert!(!is_authority(text.as_bytes()), "{text}");
        }
        assert!(!is_authority(b"a\x80"));
        assert!(!is_authority(b"a\0"));
    }
}
