//! `Forwarded` (RFC 7239) and the nodes of `X-Forwarded-For`, as proxies in front of this one write them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::scan::{blank_end, is_token, members, trim};

/// What one proxy told of one hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Element<'a> {
    /// As written, without blanks around it.
    pub text: &'a [u8],
    /// The address in `for`; none of an unknown or hidden one (§6.2, §6.3).
    pub address: Option<IpAddr>,
    /// `proto` is `https` or `wss`.
    pub is_secure: bool,
}

/// The elements of all lines of `Forwarded`, in order. `None` where one of them is malformed: then nothing is told.
#[must_use]
pub fn elements<'a>(
    lines: impl Iterator<Item = &'a [u8]> + Clone,
) -> Option<impl Iterator<Item = Element<'a>>> {
    let all = lines.flat_map(Elements::of);
    all.clone()
        .all(|element| element.is_ok())
        .then(|| all.filter_map(Result::ok))
}

/// The members of all lines of `X-Forwarded-For`, in order: each as an element, for whoever walks both fields alike.
pub fn addresses<'a>(
    lines: impl Iterator<Item = &'a [u8]> + Clone,
) -> impl Iterator<Item = Element<'a>> {
    let all = lines.flat_map(members).filter(|text| !text.is_empty());
    all.map(|text| Element {
        text,
        address: address(text),
        is_secure: false,
    })
}

/// An address with or without a port; an IPv6 one in brackets, or bare (as many write it). IPv4 addresses in their IPv6
/// form are told as IPv4.
fn address(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?;
    let is_port = |text: &str| {
        let port = text.strip_prefix(':');
        text.is_empty() || port.is_some_and(|port| port.parse::<u16>().is_ok())
    };
    if let Some(rest) = text.strip_prefix('[') {
        let (address, port) = rest.split_once(']')?;
        let address: Ipv6Addr = address.parse().ok()?;
        return is_port(port).then(|| IpAddr::V6(address).to_canonical());
    }
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(address.to_canonical());
    }
    let (address, port) = text.split_at(text.find(':')?);
    let address: Ipv4Addr = address.parse().ok()?;
    is_port(port).then_some(IpAddr::V4(address))
}

struct Malformed;

/// The elements of one line (§4); empty ones are passed over (RFC 9110 §5.6.1.2).
#[derive(Clone)]
struct Elements<'a> {
    line: &'a [u8],
    at: usize,
}

impl<'a> Elements<'a> {
    fn of(line: &'a [u8]) -> Self {
        Self { line, at: 0 }
    }

    fn peek(&self) -> Option<u8> {
        self.line.get(self.at).copied()
    }

    fn skip_blanks(&mut self) {
        self.at = blank_end(self.line, self.at);
    }

    /// Bytes that `is_part` of a word, from here on.
    fn word(&mut self, is_part: impl Fn(u8) -> bool) -> &'a [u8] {
        let rest = self.line.get(self.at..).unwrap_or_default();
        let end = rest.iter().position(|byte| !is_part(*byte));
        let word = rest.get(..end.unwrap_or(rest.len())).unwrap_or_default();
        self.at += word.len();
        word
    }

    /// The value of a pair: a token (the colons and brackets of addresses are let pass unquoted, as many write them), or a
    /// quoted string, of which what has escapes names nothing.
    fn value(&mut self) -> Result<&'a [u8], Malformed> {
        if self.peek() != Some(b'"') {
            let word = self.word(|byte| is_token(byte) || b":[]".contains(&byte));
            return match word.is_empty() {
                true => Err(Malformed),
                false => Ok(word),
            };
        }
        self.at += 1;
        let start = self.at;
        let mut has_escapes = false;
        loop {
            match self.peek() {
                None => return Err(Malformed),
                Some(b'"') => break,
                Some(b'\\') => {
                    has_escapes = true;
                    self.at += 2;
                }
                Some(_) => self.at += 1,
            }
        }
        let inner = self.line.get(start..self.at).unwrap_or_default();
        self.at += 1;
        Ok(if has_escapes { b"" } else { inner })
    }

    fn element(&mut self) -> Result<Option<Element<'a>>, Malformed> {
        let start = self.at;
        let (mut address_said, mut is_secure) = (None, false);
        loop {
            self.skip_blanks();
            let name = self.word(is_token);
            if !name.is_empty() {
                if self.peek() != Some(b'=') {
                    return Err(Malformed);
                }
                self.at += 1;
                let value = self.value()?;
                if name.eq_ignore_ascii_case(b"for") {
                    address_said = address(value);
                } else if name.eq_ignore_ascii_case(b"proto") {
                    is_secure = is_secure_scheme(value);
                }
                self.skip_blanks();
            }
            match self.peek() {
                Some(b';') => self.at += 1,
                None | Some(b',') => break,
                Some(_) => return Err(Malformed),
            }
        }
        let text = trim(self.line.get(start..self.at).unwrap_or_default());
        self.at += 1;
        let element = Element {
            text,
            address: address_said,
            is_secure,
        };
        Ok((!text.is_empty()).then_some(element))
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = Result<Element<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.at < self.line.len() {
            match self.element() {
                Ok(None) => {}
                Ok(Some(element)) => return Some(Ok(element)),
                Err(malformed) => {
                    self.at = self.line.len();
                    return Some(Err(malformed));
                }
            }
        }
        None
    }
}

/// Whether a scheme that a proxy names is one under TLS.
#[must_use]
pub fn is_secure_scheme(scheme: &[u8]) -> bool {
    scheme.eq_ignore_ascii_case(b"https") || scheme.eq_ignore_ascii_case(b"wss")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &[&str]) -> Option<Vec<(String, String, bool)>> {
        let lines = lines.iter().map(|line| line.as_bytes());
        let all = elements(lines)?.map(|element| {
            let address = element.address.map_or("-".to_owned(), |ip| ip.to_string());
            let text = String::from_utf8_lossy(element.text).into_owned();
            (text, address, element.is_secure)
        });
        Some(all.collect())
    }

    #[test]
    fn elements_keep_their_text_and_tell_whom_they_are_for() {
        let line = "for=192.0.2.60;proto=https;by=203.0.113.43, For=\"[2001:db8:cafe::17]:4711\" ,, for=_hidden;host=\"a,b;c\"";
        let all = read(&[line, "for=unknown", "", "for=\"192.0.2.1:80\";"]).expect("well-formed");
        let told: Vec<(&str, &str, bool)> = all
            .iter()
            .map(|(text, address, secure)| (text.as_str(), address.as_str(), *secure))
            .collect();
        assert_eq!(
            told,
            [
                (
                    "for=192.0.2.60;proto=https;by=203.0.113.43",
                    "192.0.2.60",
                    true
                ),
                (
                    "For=\"[2001:db8:cafe::17]:4711\"",
                    "2001:db8:cafe::17",
                    false
                ),
                ("for=_hidden;host=\"a,b;c\"", "-", false),
                ("for=unknown", "-", false),
                ("for=\"192.0.2.1:80\";", "192.0.2.1", false),
            ]
        );
    }

    #[test]
    fn one_malformed_element_spoils_all() {
        for bad in [
            "for",
            "for=",
            "for=a b",
            "for=\"a",
            "for=\"a\\",
            "for=\"a\"b",
            "=a",
            "for=a;;b",
            "for=(a)",
        ] {
            assert_eq!(read(&["for=192.0.2.1", bad]), None, "{bad}");
        }
    }

    #[test]
    fn addresses_are_read_with_and_without_ports() {
        for (text, wanted) in [
            ("192.0.2.1", Some("192.0.2.1")),
            ("192.0.2.1:80", Some("192.0.2.1")),
            ("::ffff:192.0.2.1", Some("192.0.2.1")),
            ("2001:db8::1", Some("2001:db8::1")),
            ("[2001:db8::1]", Some("2001:db8::1")),
            ("[2001:db8::1]:443", Some("2001:db8::1")),
            ("192.0.2.1:", None),
            ("192.0.2.1:99999", None),
            ("[192.0.2.1]", None),
            ("[2001:db8::1]443", None),
            ("unknown", None),
            ("_x", None),
            ("\u{e9}", None),
        ] {
            let wanted = wanted.map(|text| text.parse::<IpAddr>().expect("an address"));
            assert_eq!(address(text.as_bytes()), wanted, "{text}");
        }
    }

    #[test]
    fn members_of_the_older_field_stand_in_order() {
        let lines = ["a, 192.0.2.1,", "", " 192.0.2.2"];
        let texts: Vec<_> = addresses(lines.iter().map(|line| line.as_bytes()))
            .map(|element| element.text)
            .collect();
        assert_eq!(texts, [&b"a"[..], b"192.0.2.1", b"192.0.2.2"]);
    }

    #[test]
    fn no_bytes_make_it_stumble() {
        let pieces: [&[u8]; 9] = [b"for", b"=", b"\"", b"\\", b",", b";", b"a", b" ", b"[::1]"];
        for number in 0..9_usize.pow(6) {
            let digits = (0..6).map(|at| number / 9_usize.pow(at) % 9);
            let line: Vec<u8> = digits.flat_map(|digit| pieces[digit]).copied().collect();
            for element in Elements::of(&line).flatten() {
                assert!(!element.text.is_empty());
            }
        }
    }
}
