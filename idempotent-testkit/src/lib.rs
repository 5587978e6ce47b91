//! The store contract of `idempotent-runtime` as a suite that any store runs.
//!
//! One line writes a test for each of the checks in [`CHECKS`]:
//!
//! ```no_run
//! use idempotent_runtime::MemoryStore;
//! use idempotent_testkit::{Clock, Harness};
//!
//! struct Memory(MemoryStore);
//!
//! impl Harness for Memory {
//!     type Store = MemoryStore;
//!     const CLOCK: Clock = Clock::Paused; // leave it out for a server, which has a clock of its own
//!
//!     async fn store(&self) -> MemoryStore {
//!         self.0.clone()
//!     }
//! }
//!
//! idempotent_testkit::conformance!(Memory(MemoryStore::new()));
//! ```
//!
//! [`verify`] does the same in one call and gives one [`Report`]; [`check_blocking`] runs one check.
//!
//! # What is checked
//!
//! | group | what a store is asked for |
//! |---|---|
//! | `claim` | who is granted a lease; repetitions with the same lease id; keys and ids bit by bit |
//! | `fingerprint` | another request is refused in every state, before anything else |
//! | `ownership` | every call of an owner compares lease id and token |
//! | `takeover` | leases that run out or are given up; attempts and fencing tokens |
//! | `free` | a key that is given back as if it had never been asked for |
//! | `lives` | the token of attempt 1, the same for as long as a key is not begun anew |
//! | `operations` | what is kept for people: the operation's name and its ttl |
//! | `retention` | when records, released and abandoned keys end, and that they end |
//! | `records` | outcomes byte for byte, only the first, never after their time |
//! | `steps` | recovery points across attempts, byte for byte, each saved once; room for them |
//! | `states` | `inspect` in every state, and that it changes nothing |
//! | `forget` | `forget` and `purge_expired`: what they take, and what they leave |
//! | `handles` | several handles on one backend |
//! | `cancelled` | calls whose future is dropped half-way |
//! | `garbage` | a backend that holds what no store wrote; needs [`Harness::corrupt`] |
//! | `races` | 64 tasks for 1,000 keys, on four threads through four handles |
//!
//! A check is named after what it demands, and fails with what was expected, what the answer was, and
//! the line of the suite. The suite is itself tested against stores with one flaw each: every check
//! catches at least one of them.
//!
//! # Time
//!
//! Under [`Clock::Real`] the suite sleeps for fractions of a second where something has to run out, and
//! leases last an hour where nothing may. What has to be seen *before* a deadline is only judged when it
//! was seen in time; on a machine that was too slow for it the check is repeated with longer spans. Two
//! test threads take some ten seconds for all of it.
//!
//! # Versions
//!
//! A new version of the suite may have new checks: what they demand was in the contract before.
#![forbid(unsafe_code)]

mod checks;
mod harness;
mod list;
mod report;
mod run;
mod verdict;
mod world;

pub use self::{
    harness::{Capabilities, Clock, Garbage, Harness},
    list::{CHECKS, Check},
    report::{Report, verify, verify_blocking},
    run::{Available, Outcome, check_blocking},
};

#[doc(hidden)]
pub use self::run::test as __test;
