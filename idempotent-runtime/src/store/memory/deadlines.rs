//! When the records of a shard expire and its remembered keys are forgotten.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque, binary_heap::PeekMut},
};

use super::clock::Moment;

/// Below this many entries a table is not worth shrinking.
const SMALL: usize = 64;

/// The end of a record or of a remembered key. Told by the hash of its key and the moment: of two that
/// agree in both, both have expired.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Deadline {
    pub(super) at: Moment,
    pub(super) hash: u64,
    /// What the ledger is charged for a record; 0 of a remembered key, which has its own charge.
    pub(super) charged: usize,
}

impl Deadline {
    pub(super) fn is_of_record(self) -> bool {
        self.charged > 0
    }
}

/// In a queue where they come in order, as those of one ttl do; those that end sooner than an earlier
/// one stand in a heap: with several ttls all but the longest. A queue is written at its end only, a
/// heap of a million reads all over memory.
#[derive(Debug)]
pub(super) struct Deadlines {
    /// None comes before. Kept here, so that a look at what has not come reads no other memory.
    next: Moment,
    in_order: VecDeque<Deadline>,
    others: BinaryHeap<Reverse<Deadline>>,
}

impl Deadlines {
    pub(super) fn new() -> Self {
        Self { next: Moment::NEVER, in_order: VecDeque::new(), others: BinaryHeap::new() }
    }

    pub(super) fn push(&mut self, deadline: Deadline) {
        self.next = self.next.min(deadline.at);
        match self.in_order.back() {
            Some(last) if deadline.at < last.at => self.others.push(Reverse(deadline)),
            _ => self.in_order.push_back(deadline),
        }
    }

    /// Whether one has come.
    pub(super) fn have_come(&self, now: Moment) -> bool {
        self.next.has_come(now)
    }

    /// Takes one that has come.
    pub(super) fn pop(&mut self, now: Moment) -> Option<Deadline> {
        if !self.next.has_come(now) {
            return None;
        }
        let in_order = self.in_order.pop_front_if(|first| first.at.has_come(now));
        let popped = in_order.or_else(|| {
            let first = self.others.peek_mut().filter(|first| first.0.at.has_come(now));
            first.map(|first| PeekMut::pop(first).0)
        });
        let ends = [
            self.in_order.front().map(|first| first.at),
            self.others.peek().map(|Reverse(first)| first.at),
        ];
        self.next = ends.into_iter().flatten().min().unwrap_or(Moment::NEVER);
        popped
    }

    /// Keeps those that are to be kept: a walk through all.
    pub(super) fn retain(&mut self, mut keep: impl FnMut(&Deadline) -> bool) {
        self.in_order.retain(&mut keep);
        self.others.retain(|Reverse(deadline)| keep(deadline));
        self.shrink();
    }

    pub(super) fn len(&self) -> usize {
        self.in_order.len() + self.others.len()
    }

    #[cfg(test)]
    pub(super) fn room(&self) -> usize {
        self.in_order.capacity().max(self.others.capacity())
    }

    /// Gives memory back when most of it is not used any more.
    pub(super) fn shrink(&mut self) {
        if self.in_order.capacity() > SMALL.max(4 * self.in_order.len()) {
            self.in_order.shrink_to(2 * self.in_order.len());
        }
        if self.others.capacity() > SMALL.max(4 * self.others.len()) {
            self.others.shrink_to(2 * self.others.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn after(seconds: u64) -> Moment {
        Moment::ORIGIN.after(Duration::from_secs(seconds))
    }

    #[test]
    fn every_deadline_comes_once_it_is_due_whatever_the_order_it_was_pushed_in() {
        let mut deadlines = Deadlines::new();
        for (hash, seconds) in [5, 9, 2, 9, 7, 1, 12].into_iter().enumerate() {
            let hash = hash as u64;
            deadlines.push(Deadline { at: after(seconds), hash, charged: 1 });
        }
        let due = |deadlines: &mut Deadlines, now| {
            let mut due: Vec<_> =
                std::iter::from_fn(|| deadlines.pop(after(now))).map(|next| next.hash).collect();
            due.sort_unstable();
            due
        };
        assert!(due(&mut deadlines, 0).is_empty());
        assert_eq!(due(&mut deadlines, 5), [0, 2, 5]);
        assert_eq!(due(&mut deadlines, 8), [4]);
        assert_eq!(deadlines.len(), 3);
        deadlines.retain(|deadline| deadline.hash != 3);
        assert_eq!(deadlines.len(), 2);
        assert_eq!(due(&mut deadlines, 12), [1, 6]);
        assert_eq!(deadlines.len(), 0);
    }
}
