//! A map of storage keys whose hash is computed once for all tables of one step.

use std::hash::BuildHasher;

use hashbrown::{
    HashTable,
    hash_table::{Entry, OccupiedEntry},
};

use crate::{hash::Seeded, key::StorageKey};

/// Where a key stands in the tables of its shard.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    pub(super) key: &'a StorageKey,
    pub(super) hash: u64,
}

impl<'a> Place<'a> {
    pub(super) fn of(key: &'a StorageKey, hasher: Seeded) -> Self {
        Self { key, hash: hasher.hash_one(key) }
    }

    /// Which of `shards`, a power of two, the key belongs to: by bits that the tables do not use, which
    /// take the lowest and the topmost.
    pub(super) fn shard(self, shards: usize) -> usize {
        let middle = (self.hash >> 32) & 0xffff;
        usize::try_from(middle).unwrap_or_default() & (shards - 1)
    }
}

/// Below this many entries a table is not worth shrinking.
const SMALL: usize = 64;

#[derive(Debug)]
pub(super) struct Table<V> {
    entries: HashTable<(StorageKey, V)>,
    hasher: Seeded,
}

/// The entry of a key.
pub(super) struct Found<'a, V>(OccupiedEntry<'a, (StorageKey, V)>);

impl<V> Found<'_, V> {
    pub(super) fn get_mut(&mut self) -> &mut V {
        &mut self.0.get_mut().1
    }

    pub(super) fn remove(self) -> V {
        self.0.remove().0.1
    }
}

impl<V> Table<V> {
    pub(super) fn new(hasher: Seeded) -> Self {
        Self { entries: HashTable::new(), hasher }
    }

    pub(super) fn get(&self, place: Place<'_>) -> Option<&V> {
        self.entries.find(place.hash, |(key, _)| key == place.key).map(|(_, value)| value)
    }

    pub(super) fn get_mut(&mut self, place: Place<'_>) -> Option<&mut V> {
        self.entries.find_mut(place.hash, |(key, _)| key == place.key).map(|(_, value)| value)
    }

    /// Sets the value of a key, in place of the one that it had.
    pub(super) fn insert(&mut self, place: Place<'_>, value: V) {
        let hasher = self.hasher;
        let same = |(key, _): &(StorageKey, V)| key == place.key;
        match self.entries.entry(place.hash, same, |(key, _)| hasher.hash_one(key)) {
            Entry::Occupied(mut entry) => entry.get_mut().1 = value,
            Entry::Vacant(entry) => drop(entry.insert((*place.key, value))),
        }
    }

    /// Sets the value of a key that has none.
    pub(super) fn insert_new(&mut self, place: Place<'_>, value: V) -> &mut V {
        let hasher = self.hasher;
        let entry = (*place.key, value);
        let entry = self.entries.insert_unique(place.hash, entry, |(key, _)| hasher.hash_one(key));
        &mut entry.into_mut().1
    }

    pub(super) fn remove(&mut self, place: Place<'_>) -> Option<V> {
        Some(self.find(place)?.remove())
    }

    /// Where a key stands, to change it and perhaps remove it.
    pub(super) fn find(&mut self, place: Place<'_>) -> Option<Found<'_, V>> {
        self.entries.find_entry(place.hash, |(key, _)| key == place.key).map(Found).ok()
    }

    /// Removes a value that is known by the hash of its key, and says whether there was one.
    pub(super) fn remove_if(&mut self, hash: u64, is_it: impl Fn(&V) -> bool) -> bool {
        let hasher = self.hasher;
        let found = self.entries.find_entry(hash, Self::by_hash(hasher, hash, is_it));
        found.map(OccupiedEntry::remove).is_ok()
    }

    /// Whether there is a value that is known by the hash of its key.
    pub(super) fn has(&self, hash: u64, is_it: impl Fn(&V) -> bool) -> bool {
        self.entries.find(hash, Self::by_hash(self.hasher, hash, is_it)).is_some()
    }

    /// The table itself compares a few bits of the hash.
    fn by_hash(
        hasher: Seeded,
        hash: u64,
        is_it: impl Fn(&V) -> bool,
    ) -> impl Fn(&(StorageKey, V)) -> bool {
        move |(key, value)| is_it(value) && hasher.hash_one(key) == hash
    }

    /// Removes at most `limit` of those that `is_over`, and says how many.
    pub(super) fn purge(&mut self, limit: usize, is_over: impl Fn(&V) -> bool) -> usize {
        self.entries.extract_if(|(_, value)| is_over(value)).take(limit).count()
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &V> {
        self.entries.iter().map(|(_, value)| value)
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn capacity(&self) -> usize {
        self.entries.capacity()
    }

    /// Gives memory back when most of it is not used any more.
    pub(super) fn shrink(&mut self) {
        if self.capacity() > SMALL.max(4 * self.len()) {
            let hasher = self.hasher;
            self.entries.shrink_to(2 * self.len(), |(key, _)| hasher.hash_one(key));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u16) -> StorageKey {
        let mut bytes = [0; 32];
        bytes[..2].copy_from_slice(&n.to_be_bytes());
        StorageKey::from_bytes(bytes)
    }

    /// A table compares 7 bits of a hash, which a thousand others share with one of a hundred keys.
    #[test]
    fn a_value_is_removed_by_all_of_the_hash_of_its_key() {
        let hasher = Seeded::random();
        let mut table = Table::new(hasher);
        for n in 0..100 {
            table.insert_new(Place::of(&key(n), hasher), n);
        }
        for n in 100..1100 {
            table.remove_if(Place::of(&key(n), hasher).hash, |_| true);
        }
        assert_eq!(table.len(), 100);
        for n in 0..100 {
            table.remove_if(Place::of(&key(n), hasher).hash, |value| *value != n);
            assert!(table.get(Place::of(&key(n), hasher)).is_some());
            table.remove_if(Place::of(&key(n), hasher).hash, |value| *value == n);
        }
        assert_eq!(table.len(), 0);
    }
}
