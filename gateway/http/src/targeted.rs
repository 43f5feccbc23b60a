//! `CDN-Cache-Control`, the cache directives for us alone (RFC 9213).

use crate::cache_control::{CacheControl, Qualified, is_name_list};
use crate::scan;
use crate::structured::{BareItem, Member, dictionary};

/// The directives of all lines of the field, which stand for `Cache-Control` and `Expires` together (§2.2). `None` where
/// it is as if absent: there is no line or no member, it is no dictionary, or a directive known here has a value of
/// another type than its own (§2.1). Of a directive given twice the last counts (RFC 9651 §3.2).
///
/// Keys are in lower case, and those of requests are as unknown as any other. A negative age has the right type and is
/// invalid. `?0` is no value of a directive.
pub fn read<'a>(lines: impl Iterator<Item = &'a [u8]>) -> Option<CacheControl> {
    let mut control = CacheControl::default();
    let mut is_empty = true;
    // A bit per directive, for a later one may yet bring the right type.
    let mut wrong = 0u16;
    let read = dictionary(lines, |key, member| {
        is_empty = false;
        if let Some((directive, is_right)) = apply(&mut control, key, member) {
            let bit = 1 << directive;
            wrong = if is_right { wrong & !bit } else { wrong | bit };
        }
    });
    (read.is_ok() && !is_empty && wrong == 0).then_some(control)
}

/// Tells the fields that the last `directive` of the lines names, as written, where [`read`] says that it is qualified.
pub fn qualified_fields<'a>(
    lines: impl Iterator<Item = &'a [u8]> + Clone,
    directive: Qualified,
    mut visit: impl FnMut(&[u8]),
) {
    let is_named = |key: &[u8]| key == directive.name();
    let mut count = 0;
    let read = dictionary(lines.clone(), |key, _| count += usize::from(is_named(key)));
    if read.is_err() {
        return;
    }
    let _ = dictionary(lines, |key, member| {
        count -= usize::from(is_named(key));
        if let Member::Item(BareItem::String(list)) = member
            && is_named(key)
            && count == 0
            && is_name_list(list)
        {
            let names = scan::members(list).filter(|name| !name.is_empty());
            names.for_each(&mut visit);
        }
    });
}

/// Takes in one directive; which it is, and whether its value has its type. `None` for one that is not known.
fn apply(control: &mut CacheControl, key: &[u8], member: Member<'_>) -> Option<(u16, bool)> {
    let CacheControl {
        max_age,
        s_maxage,
        stale_while_revalidate,
        stale_if_error,
        no_store,
        no_cache,
        no_cache_qualified,
        private,
        private_qualified,
        public,
        must_revalidate,
        proxy_revalidate,
        must_understand,
        immutable,
        no_transform,
        ..
    } = control;
    Some(match key {
        b"max-age" => (0, seconds(max_age, member)),
        b"s-maxage" => (1, seconds(s_maxage, member)),
        b"stale-while-revalidate" => (2, seconds(stale_while_revalidate, member)),
        b"stale-if-error" => (3, seconds(stale_if_error, member)),
        b"no-store" => (4, flag(no_store, member)),
        b"no-cache" => (5, flag_or_fields(no_cache, no_cache_qualified, member)),
        b"private" => (6, flag_or_fields(private, private_qualified, member)),
        b"public" => (7, flag(public, member)),
        b"must-revalidate" => (8, flag(must_revalidate, member)),
        b"proxy-revalidate" => (9, flag(proxy_revalidate, member)),
        b"must-understand" => (10, flag(must_understand, member)),
        b"immutable" => (11, flag(immutable, member)),
        b"no-transform" => (12, flag(no_transform, member)),
        _ => return None,
    })
}

fn seconds(age: &mut Option<Result<u64, ()>>, member: Member<'_>) -> bool {
    let Member::Item(BareItem::Integer(seconds)) = member else {
        return false;
    };
    *age = Some(u64::try_from(seconds).map_err(|_| ()));
    true
}

fn flag(is_there: &mut bool, member: Member<'_>) -> bool {
    *is_there = member == Member::Item(BareItem::Boolean(true));
    *is_there
}

/// A list that names no fields is for the whole answer.
fn flag_or_fields(is_there: &mut bool, is_qualified: &mut bool, member: Member<'_>) -> bool {
    *is_qualified = match member {
        Member::Item(BareItem::Boolean(true)) => false,
        Member::Item(BareItem::String(list)) => is_name_list(list),
        _ => return false,
    };
    *is_there = true;
    true
}
