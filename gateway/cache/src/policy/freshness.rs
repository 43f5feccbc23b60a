//! How old an answer is and how long it is fresh (RFC 9111 §4.2).

use base::Wall;
use http::{Fields, Name, date};

use super::directives::Directives;

/// When a stored answer is fresh (RFC 9111 §4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetime {
    /// When the answer arrived.
    pub received: Wall,
    /// Its age then, in milliseconds (corrected initial age, §4.2.3).
    pub initial_age_ms: u64,
    /// Seconds it is fresh for, counted from age 0 (freshness lifetime, §4.2.1).
    pub fresh_for: u64,
}

/// The age that stands for itself and all beyond (§1.2.2); nothing is fresh at it, however long its lifetime.
const AGE_MAX: u64 = 1 << 31;

impl Lifetime {
    /// The age at `now`, in seconds (current age, §4.2.3). Saturates at 2^31 (§1.2.2).
    #[must_use]
    #[inline]
    pub fn age(&self, now: Wall) -> u64 {
        let resident_ms = now.0.saturating_sub(self.received.0);
        (self.initial_age_ms.saturating_add(resident_ms) / 1_000).min(AGE_MAX)
    }

    /// Whether it is fresh at `now`.
    #[must_use]
    #[inline]
    pub fn is_fresh(&self, now: Wall) -> bool {
        let age = self.age(now);
        self.fresh_for > age && age < AGE_MAX
    }

    /// Whole seconds since it ceased to be fresh: 0 while it is and in the first second after. Without end where the age
    /// is, for that has none.
    #[must_use]
    pub fn stale_for(&self, now: Wall) -> u64 {
        match self.age(now) {
            AGE_MAX => u64::MAX,
            age => age.saturating_sub(self.fresh_for),
        }
    }

    /// Whether it was fresh when it arrived.
    #[must_use]
    pub fn was_fresh(&self) -> bool {
        self.is_fresh(self.received)
    }
}

/// The lifetime that the answer brings (§4.2.1), for a shared cache. What is there but cannot be read makes the answer
/// stale, it is not passed over.
pub(super) fn explicit(
    fields: &Fields<'_>,
    directives: &Directives,
    date: Wall,
    received: Wall,
) -> Option<u64> {
    let control = &directives.control;
    if let Some(seconds) = control.s_maxage.or(control.max_age) {
        return Some(seconds.unwrap_or(0));
    }
    if directives.targeted {
        return None;
    }
    let expires = date::parse(fields.first(Name::Expires)?, received);
    let only = expires.filter(|_| !fields.is_repeated(Name::Expires));
    Some(only.map_or(0, |at| (at - date).as_secs()))
}

/// §4.2.3: corrected initial age, in milliseconds. Dates are whole seconds: one of the second in which the request was sent,
/// or later, says no more than the delay does.
pub(super) fn initial_age_ms(
    fields: &Fields<'_>,
    date: Wall,
    requested: Wall,
    received: Wall,
) -> u64 {
    let apparent = received.as_secs().saturating_sub(date.as_secs());
    let apparent_ms = match date.as_secs() < requested.as_secs() {
        true => apparent.saturating_mul(1_000),
        false => 0,
    };
    let delay_ms = received.0.saturating_sub(requested.0);
    let corrected_ms = age_value(fields)
        .saturating_mul(1_000)
        .saturating_add(delay_ms);
    apparent_ms.max(corrected_ms).min(AGE_MAX * 1_000)
}

/// The first Date line, or where that cannot be read or there is none, the second in which the answer was received (RFC 9110
/// §6.6.1).
pub(super) fn date_of(fields: &Fields<'_>, received: Wall) -> Wall {
    let text = fields.first(Name::Date);
    text.and_then(|text| date::parse(text, received))
        .unwrap_or(Wall::from_secs(received.as_secs()))
}

/// §5.1: the first member of the first line; zero where that is no `1*DIGIT`.
fn age_value(fields: &Fields<'_>) -> u64 {
    let line = fields.first(Name::Age).unwrap_or_default();
    let first = line.split(|byte| *byte == b',').next().unwrap_or_default();
    let digits = first.trim_ascii();
    if !digits.iter().all(u8::is_ascii_digit) {
        return 0;
    }
    digits.iter().fold(0_u64, |age, digit| {
        age.saturating_mul(10)
            .saturating_add(u64::from(digit - b'0'))
    })
}
