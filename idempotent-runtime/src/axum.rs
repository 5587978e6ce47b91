//! The parts that know axum: the only ones.

mod answer;
mod attempt;
mod call;
mod guarded;
mod kept;
mod late;
mod marks;
mod outcome;
mod recorded;
mod run;

pub use self::{
    call::Call,
    guarded::{Guarded, GuardedRejection, Via},
    kept::Guard,
    late::{DoesMore, Probe, Reads, ReadsBody, begin, first, late, take},
    marks::{DoNotRecord, NoEffect, PassThrough},
    outcome::{Outcome, Reply, reply},
    recorded::Recorded,
    run::{run, run_inline},
};
