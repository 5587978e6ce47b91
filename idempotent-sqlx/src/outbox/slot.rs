//! Partitions are dealt to a fixed number of slots, and a relay leases slots.

/// How many there are in an outbox. Stored beside every message, so never changed.
pub(super) const SLOTS: i64 = 64;

/// The slot of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot(i64);

impl Slot {
    /// Frozen: two messages of one partition in two slots would lose their order.
    pub(super) fn of(partition: &str) -> Self {
        let hash = blake3::hash(partition.as_bytes());
        Self(i64::from(hash.as_bytes()[0]) % SLOTS)
    }

    pub(super) fn number(self) -> i64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slot_of_a_partition_never_changes() {
        let slots = ["", "a", "order-7", "é"].map(|partition| Slot::of(partition).number());
        assert_eq!(slots, [47, 23, 18, 6]);
    }
}
