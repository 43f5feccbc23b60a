//! Numbers from a seed, and bodies from a request target: what both ends of a storm know without telling each other.

/// SplitMix64 (Steele, Lea and Flood, 2014).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The numbers of a seed.
    #[must_use]
    pub fn of(seed: u64) -> Random {
        Random(seed)
    }

    /// The next one.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// One below `bound`; 0 where that is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.draw() % bound.max(1)
    }

    /// One of them.
    ///
    /// # Panics
    /// When there are none.
    pub fn one_of<T: Copy>(&mut self, among: &[T]) -> T {
        among[self.below(among.len() as u64) as usize]
    }
}

/// A number of a target's own (FNV-1a, 64 bits).
#[must_use]
pub fn digest(target: &str) -> u64 {
    target.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// The one right body of a target: no other target's begins or ends like it. Most are small, some take several buffers.
#[must_use]
pub fn body_of(target: &str) -> Vec<u8> {
    let mut random = Random::of(digest(target));
    let length = match random.below(8) {
        0 => 20_000 + random.below(80_000),
        1 | 2 => 4_000 + random.below(8_000),
        _ => 16 + random.below(2_000),
    };
    let words = length.div_ceil(8);
    let mut body: Vec<u8> = (0..words)
        .flat_map(|_| random.draw().to_le_bytes())
        .collect();
    body.truncate(length as usize);
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_has_one_body_and_no_two_the_same() {
        assert_eq!(body_of("/a"), body_of("/a"));
        let starts: std::collections::BTreeSet<Vec<u8>> = (0..500)
            .map(|n| body_of(&format!("/{n}"))[..16].to_vec())
            .collect();
        assert_eq!(starts.len(), 500);
    }
}
