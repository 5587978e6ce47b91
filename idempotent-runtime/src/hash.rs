//! The hashers of the maps that every guarded call goes through.

use std::hash::{BuildHasher, Hasher};

/// Multiplies and folds, under a random seed.
///
/// Storage keys are hashes already, but whoever chooses idempotency keys can compute them and pick
/// those that would share a bucket; the seed takes the choice away. Half the time of `SipHash`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seeded([u64; 2]);

impl Seeded {
    pub(crate) fn random() -> Self {
        Self(rand::random())
    }

    /// Of a word that is a part of a digest.
    pub(crate) fn of_word(self, word: u64) -> u64 {
        fold(word ^ self.0[0], self.0[1])
    }
}

impl BuildHasher for Seeded {
    type Hasher = Folding;

    fn build_hasher(&self) -> Folding {
        Folding { state: self.0[0], seed: self.0[1] }
    }
}

#[derive(Debug)]
pub(crate) struct Folding {
    state: u64,
    seed: u64,
}

impl Folding {
    fn fold(&mut self, one: u64, two: u64) {
        self.state = fold(self.state ^ one, self.seed ^ two);
    }
}

fn fold(one: u64, two: u64) -> u64 {
    let (low, high) = one.carrying_mul(two, 0);
    low ^ high
}

impl Hasher for Folding {
    fn write(&mut self, bytes: &[u8]) {
        let (words, tail) = bytes.as_chunks::<8>();
        let (pairs, odd) = words.as_chunks::<2>();
        for [one, two] in pairs {
            self.fold(u64::from_le_bytes(*one), u64::from_le_bytes(*two));
        }
        for word in odd {
            self.fold(u64::from_le_bytes(*word), 0);
        }
        for byte in tail {
            self.fold(u64::from(*byte), 0);
        }
    }

    /// Only ever the length of a digest, which is the same for all.
    fn write_usize(&mut self, _: usize) {}

    /// Once more, so that the last word of a key reaches every bit.
    fn finish(&self) -> u64 {
        fold(self.state, self.seed)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::key::StorageKey;

    fn keys() -> impl Iterator<Item = StorageKey> {
        (0..100_000_u32).map(|n| {
            let mut bytes = [0; 32];
            bytes[28..].copy_from_slice(&n.to_be_bytes());
            StorageKey::from_bytes(bytes)
        })
    }

    #[test]
    fn keys_that_differ_in_their_last_bytes_spread_over_every_part_of_the_hash() {
        let seeded = Seeded([0x243f_6a88_85a3_08d3, 0x1319_8a2e_0370_7344]);
        for shift in [0, 16, 32, 48] {
            let parts: HashSet<_> =
                keys().map(|key| seeded.hash_one(key) >> shift & 0xffff).collect();
            // 100,000 balls thrown at random into 65,536 boxes fill 51,300.
            assert!(parts.len() > 50_000, "{shift}: {}", parts.len());
        }
    }

    #[test]
    fn two_seeds_place_keys_differently() {
        let (one, two) = (Seeded::random(), Seeded::random());
        assert!(keys().take(100).all(|key| one.hash_one(key) != two.hash_one(key)));
    }
}
