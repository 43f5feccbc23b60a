//! Field names by spelling. Names are compared in any case (RFC 9110 §5.1).

use crate::field::Name;

/// Every known name with its spelling, in order of discriminants, [`Name::Other`] first.
const SPELLINGS: [(Name, &str); 53] = [
    (Name::Other, ""),
    (Name::Accept, "accept"),
    (Name::AcceptEncoding, "accept-encoding"),
    (Name::AcceptLanguage, "accept-language"),
    (Name::Age, "age"),
    (Name::Authorization, "authorization"),
    (Name::CacheControl, "cache-control"),
    (Name::CacheStatus, "cache-status"),
    (Name::CdnCacheControl, "cdn-cache-control"),
    (Name::Connection, "connection"),
    (Name::ContentEncoding, "content-encoding"),
    (Name::ContentLength, "content-length"),
    (Name::ContentLanguage, "content-language"),
    (Name::ContentLocation, "content-location"),
    (Name::ContentRange, "content-range"),
    (Name::ContentType, "content-type"),
    (Name::Cookie, "cookie"),
    (Name::Date, "date"),
    (Name::ETag, "etag"),
    (Name::Expect, "expect"),
    (Name::Expires, "expires"),
    (Name::Forwarded, "forwarded"),
    (Name::Host, "host"),
    (Name::IfMatch, "if-match"),
    (Name::IfModifiedSince, "if-modified-since"),
    (Name::IfNoneMatch, "if-none-match"),
    (Name::IfRange, "if-range"),
    (Name::IfUnmodifiedSince, "if-unmodified-since"),
    (Name::KeepAlive, "keep-alive"),
    (Name::LastModified, "last-modified"),
    (Name::Location, "location"),
    (Name::MaxForwards, "max-forwards"),
    (Name::Pragma, "pragma"),
    (Name::ProxyAuthenticate, "proxy-authenticate"),
    (Name::ProxyAuthorization, "proxy-authorization"),
    (Name::ProxyConnection, "proxy-connection"),
    (Name::ProxyAuthenticationInfo, "proxy-authentication-info"),
    (Name::Range, "range"),
    (Name::RetryAfter, "retry-after"),
    (Name::SetCookie, "set-cookie"),
    (Name::Te, "te"),
    (Name::Traceparent, "traceparent"),
    (Name::Trailer, "trailer"),
    (Name::TransferEncoding, "transfer-encoding"),
    (Name::Upgrade, "upgrade"),
    (Name::Vary, "vary"),
    (Name::Via, "via"),
    (Name::XForwardedFor, "x-forwarded-for"),
    (Name::XRequestId, "x-request-id"),
    (Name::Http2Settings, "http2-settings"),
    (Name::Warning, "warning"),
    (Name::XForwardedProto, "x-forwarded-proto"),
    (Name::XForwardedHost, "x-forwarded-host"),
];

const _: () = {
    let mut at = 0;
    while at < SPELLINGS.len() {
        assert!(SPELLINGS[at].0 as usize == at);
        at += 1;
    }
};

impl Name {
    /// The known name that `text` spells, in any case.
    #[inline]
    #[must_use]
    pub fn of(text: &[u8]) -> Self {
        let Some(first) = text.first() else {
            return Self::Other;
        };
        for &name in candidates(text.len(), first | 0x20) {
            if is_spelled(text, name.as_str().as_bytes()) {
                return name;
            }
        }
        Self::Other
    }

    /// The name in lower case; empty for [`Name::Other`].
    #[inline]
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        SPELLINGS[self as usize].1
    }

    /// Its bit in a set of names, for [`crate::Fields::has_any`].
    #[inline]
    #[must_use]
    pub const fn bit(self) -> u64 {
        1 << self as u8
    }
}

/// Whether `text` is `spelling` in any case. Both are of one length; `spelling` is letters, digits and hyphens.
/// Compares words, the last one overlapping the one before.
#[inline]
fn is_spelled(text: &[u8], spelling: &[u8]) -> bool {
    if let (Some(text), Some(spelling)) = (text.last_chunk::<8>(), spelling.last_chunk::<8>())
        && lower_case(*text) != u64::from_le_bytes(*spelling)
    {
        return false;
    }
    let (words, rest) = text.as_chunks::<8>();
    let (spelled_words, spelled_rest) = spelling.as_chunks::<8>();
    if words.is_empty() {
        return rest.eq_ignore_ascii_case(spelled_rest);
    }
    let mut pairs = words.iter().zip(spelled_words);
    pairs.all(|(word, spelled)| lower_case(*word) == u64::from_le_bytes(*spelled))
}

/// Sets the bit that tells cases apart where the bit is set that all letters have. No byte but a letter becomes a
/// letter, and none a digit or hyphen.
#[inline]
fn lower_case(word: [u8; 8]) -> u64 {
    let word = u64::from_le_bytes(word);
    word | (word & 0x4040_4040_4040_4040) >> 1
}

/// The known names of that length and first letter.
#[inline]
fn candidates(length: usize, first: u8) -> &'static [Name] {
    match (length, first) {
        (2, b't') => &[Name::Te],
        (3, b'a') => &[Name::Age],
        (3, b'v') => &[Name::Via],
        (4, b'd') => &[Name::Date],
        (4, b'e') => &[Name::ETag],
        (4, b'h') => &[Name::Host],
        (4, b'v') => &[Name::Vary],
        (5, b'r') => &[Name::Range],
        (6, b'a') => &[Name::Accept],
        (6, b'c') => &[Name::Cookie],
        (6, b'e') => &[Name::Expect],
        (6, b'p') => &[Name::Pragma],
        (7, b'e') => &[Name::Expires],
        (7, b't') => &[Name::Trailer],
        (7, b'u') => &[Name::Upgrade],
        (7, b'w') => &[Name::Warning],
        (8, b'i') => &[Name::IfMatch, Name::IfRange],
        (8, b'l') => &[Name::Location],
        (9, b'f') => &[Name::Forwarded],
        (10, b'c') => &[Name::Connection],
        (10, b'k') => &[Name::KeepAlive],
        (10, b's') => &[Name::SetCookie],
        (11, b'r') => &[Name::RetryAfter],
        (11, b't') => &[Name::Traceparent],
        (12, b'c') => &[Name::ContentType, Name::CacheStatus],
        (12, b'm') => &[Name::MaxForwards],
        (12, b'x') => &[Name::XRequestId],
        (13, b'a') => &[Name::Authorization],
        (13, b'c') => &[Name::CacheControl, Name::ContentRange],
        (13, b'i') => &[Name::IfNoneMatch],
        (13, b'l') => &[Name::LastModified],
        (14, b'c') => &[Name::ContentLength],
        (14, b'h') => &[Name::Http2Settings],
        (15, b'a') => &[Name::AcceptEncoding, Name::AcceptLanguage],
        (15, b'x') => &[Name::XForwardedFor],
        (16, b'c') => &[
            Name::ContentEncoding,
            Name::ContentLanguage,
            Name::ContentLocation,
        ],
        (16, b'p') => &[Name::ProxyConnection],
        (16, b'x') => &[Name::XForwardedHost],
        (17, b'c') => &[Name::CdnCacheControl],
        (17, b'i') => &[Name::IfModifiedSince],
        (17, b't') => &[Name::TransferEncoding],
        (17, b'x') => &[Name::XForwardedProto],
        (18, b'p') => &[Name::ProxyAuthenticate],
        (19, b'i') => &[Name::IfUnmodifiedSince],
        (19, b'p') => &[Name::ProxyAuthorization],
        (25, b'p') => &[Name::ProxyAuthenticationInfo],
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_is_found_in_any_case() {
        for (name, text) in SPELLINGS {
            assert_eq!(Name::of(text.as_bytes()), name, "{text}");
            assert_eq!(
                Name::of(text.to_ascii_uppercase().as_bytes()),
                name,
                "{text}"
            );
        }
    }

    #[test]
    fn a_name_off_by_one_bit_is_another() {
        for (_, text) in SPELLINGS.iter().skip(1) {
            for (at, byte) in text.bytes().enumerate() {
                for bit in 0..8 {
                    let mut other = text.as_bytes().to_vec();
                    other[at] ^= 1 << bit;
                    let is_same = other[at].eq_ignore_ascii_case(&byte);
                    assert_eq!(Name::of(&other) != Name::Other, is_same, "{text} at {at}");
                }
            }
        }
    }
}
