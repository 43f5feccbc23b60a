//! Which directives govern an answer.

use http::cache_control::{self, CacheControl, Qualified};
use http::{Fields, Name, targeted};

use super::Rules;

/// The directives that count here, and where they come from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Directives {
    pub(super) control: CacheControl,
    /// They are those of `CDN-Cache-Control`, beside which `Cache-Control` and `Expires` do not count (RFC 9213 §2.2).
    pub(super) targeted: bool,
}

impl Directives {
    pub(super) fn of(fields: &Fields<'_>, rules: &Rules) -> Self {
        let control = (rules.targeted && fields.has(Name::CdnCacheControl))
            .then(|| targeted::read(fields.all(Name::CdnCacheControl)))
            .flatten();
        Self {
            targeted: control.is_some(),
            control: control.unwrap_or_else(|| CacheControl::read(fields.all(Name::CacheControl))),
        }
    }

    /// The answer may be used only after validation, whole.
    pub(super) fn no_cache(&self) -> bool {
        self.control.no_cache && !self.control.no_cache_qualified
    }

    /// The answer is for one user, whole.
    pub(super) fn private(&self) -> bool {
        self.control.private && !self.control.private_qualified
    }

    /// RFC 9111 §5.2.2.2, §5.2.2.8; s-maxage says it too (§5.2.2.10).
    pub(super) fn must_revalidate(&self) -> bool {
        self.control.must_revalidate
            || self.control.proxy_revalidate
            || self.control.s_maxage.is_some()
    }

    /// Whether a field is not to be stored (§5.2.2.7) or not to be used unvalidated (§5.2.2.4), which is here the same.
    pub(super) fn withholds(&self, fields: &Fields<'_>, name: &[u8]) -> bool {
        let named = |is_qualified, directive| is_qualified && self.names(fields, directive, name);
        named(self.control.no_cache_qualified, Qualified::NoCache)
            || named(self.control.private_qualified, Qualified::Private)
    }

    /// Whether the directive's list has `name`.
    fn names(&self, fields: &Fields<'_>, directive: Qualified, name: &[u8]) -> bool {
        if !self.targeted {
            let lines = fields.all(Name::CacheControl);
            let mut names = cache_control::qualified_fields(lines, directive);
            return names.any(|named| named.eq_ignore_ascii_case(name));
        }
        let mut is_there = false;
        let lines = fields.all(Name::CdnCacheControl);
        targeted::qualified_fields(lines, directive, |named| {
            is_there |= named.eq_ignore_ascii_case(name);
        });
        is_there
    }
}
