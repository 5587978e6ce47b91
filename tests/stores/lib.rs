//! Nothing but tests: what a user is promised over Redis, PostgreSQL and SQLite. A package of their
//! own, so that the other tests build without database clients.
#![forbid(unsafe_code)]
