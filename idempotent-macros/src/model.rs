//! What a correct attribute says. Nothing in here can be wrong any more.

use std::time::Duration;

use proc_macro2::TokenStream;
use quote::{ToTokens, quote};
use syn::{Expr, Ident, LitStr, Path};

/// Which of the two attributes.
#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(test, derive(Debug))]
pub(crate) enum Attribute {
    /// `#[idempotent]`
    Handler,
    /// `#[idempotent_fn]`
    Function,
}

/// What both attributes say. An option that was not given is `None` and left to the runtime's
/// default, which is written once, there.
#[derive(Default)]
pub(crate) struct Common {
    pub(crate) crate_path: Option<Path>,
    pub(crate) fingerprint: Option<Compared>,
    pub(crate) lease: Option<Duration>,
    pub(crate) on_abandoned: Option<OnAbandoned>,
    pub(crate) on_record_failure: Option<OnRecordFailure>,
    pub(crate) on_store_error: Option<OnStoreError>,
    pub(crate) operation: Option<LitStr>,
    pub(crate) scope: Option<Expr>,
    pub(crate) ttl: Option<Duration>,
    pub(crate) wait: Option<Duration>,
}

/// `#[idempotent]`.
pub(crate) struct Guard {
    pub(crate) common: Common,
    /// In lower case and in the order of the alphabet.
    pub(crate) fingerprint_headers: Vec<LitStr>,
    pub(crate) key: Key,
    pub(crate) optional: bool,
    pub(crate) record: Option<RecordRule>,
    pub(crate) runtime: Option<Expr>,
    pub(crate) shared: bool,
    pub(crate) spawn: Spawn,
}

impl Guard {
    /// What stands in for one that could not be read.
    pub(crate) fn stand_in(crate_path: Option<Path>, spawn: Spawn) -> Self {
        let common = Common { crate_path, ..Common::default() };
        Self {
            common,
            fingerprint_headers: Vec::new(),
            key: Key::Fingerprint,
            optional: false,
            record: None,
            runtime: None,
            shared: false,
            spawn,
        }
    }
}

/// `#[idempotent_fn]`.
pub(crate) struct FunctionGuard {
    pub(crate) attempt: Option<Ident>,
    pub(crate) common: Common,
    pub(crate) key: FunctionKey,
    pub(crate) runtime: Expr,
}

/// Where the idempotency key of a request comes from.
pub(crate) enum Key {
    /// A request header, by its lower-case name.
    Header(LitStr),
    /// The request's fingerprint.
    Fingerprint,
    /// `hash(…)` of an expression over the handler's arguments.
    Content(Expr),
    /// An expression over the handler's arguments.
    Expression(Expr),
}

/// What has to be the same in a retry.
pub(crate) enum Compared {
    /// The body by its value as JSON.
    Json,
    /// `hash(…)` of an expression over the arguments.
    Content(Expr),
    /// An expression over the arguments.
    Expression(Expr),
}

/// Where the idempotency key of a call comes from.
pub(crate) enum FunctionKey {
    /// `hash(…)` of an expression over the function's arguments.
    Content(Expr),
    /// An expression over the function's arguments.
    Expression(Expr),
}

/// Where the handler runs.
#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(test, derive(Debug))]
pub(crate) enum Spawn {
    /// In a task of its own, so that a client that hangs up cancels nothing.
    Detached,
    /// In the request's task; its future need not be `Send + 'static`.
    Inline,
}

/// An option whose value is one of a few words.
pub(crate) trait Word: Copy + 'static {
    /// The words of the attribute and what they mean.
    const WORDS: &'static [(&'static str, Self)];
}

macro_rules! words {
    ($($(#[$doc:meta])* $name:ident { $($variant:ident = $word:literal),+ })+) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq)]
        #[cfg_attr(test, derive(Debug))]
        pub(crate) enum $name { $($variant),+ }

        impl Word for $name {
            const WORDS: &'static [(&'static str, Self)] = &[$(($word, Self::$variant)),+];
        }

        /// The variant of the runtime's enum of the same name.
        impl ToTokens for $name {
            fn to_tokens(&self, tokens: &mut TokenStream) {
                tokens.extend(match self {
                    $(Self::$variant => quote!($name::$variant)),+
                });
            }
        }
    )+};
}
words! {
    /// Which outcomes are recorded.
    RecordRule { Final = "final", Success = "success", All = "all" }
    /// What a request does that finds an abandoned lease.
    OnAbandoned { Rerun = "rerun", Halt = "halt" }
    /// What a request does while the store cannot be reached.
    OnStoreError { Fail = "fail", Bypass = "bypass" }
    /// What the client hears when its outcome could not be recorded yet.
    OnRecordFailure { Answer = "answer", Withhold = "withhold" }
}
