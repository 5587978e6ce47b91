//! The guards that are compared, each around the same handler.

use std::sync::Arc;

use anyhow::Result;
use axum::{Router, routing::get};
use axum_idempotent::{IdempotentLayer, IdempotentOptions};
use clap::ValueEnum;
use idempotent_benches::{App, bare, floor};
use ruts::{CookieOptions, SessionLayer, store::moka::MokaStore};
use tower_cookies::CookieManagerLayer;

/// Records are kept for a day by every contender.
const DAY: u32 = 24 * 60 * 60;

/// What stands around the handler.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Contender {
    /// Nothing: what the others are divided by.
    Bare,
    /// `#[idempotent]` of this repository.
    #[cfg(feature = "ours")]
    Ours,
    /// The same with `runtime = state.idempotency` instead of the `Extension` layer.
    #[cfg(feature = "ours")]
    OursInState,
    /// As little as a guard can do, written by hand: no lease, no single-flight, no expiry, no bound.
    Floor,
    /// The crate `idempotent` 2.0.0.
    Idempotent,
    /// The crate `axum-idempotent` 0.6.0.
    AxumIdempotent,
}

impl Contender {
    /// All that are measured when none is named: all but the bare handler.
    pub(crate) fn all() -> Vec<Self> {
        Self::value_variants().iter().copied().filter(|&one| one != Self::Bare).collect()
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Bare => "bare",
            #[cfg(feature = "ours")]
            Self::Ours => "ours",
            #[cfg(feature = "ours")]
            Self::OursInState => "ours-in-state",
            Self::Floor => "floor",
            Self::Idempotent => "idempotent",
            Self::AxumIdempotent => "axum-idempotent",
        }
    }

    /// Whether its records are kept in the session that a cookie names.
    pub(crate) fn needs_session(self) -> bool {
        self == Self::AxumIdempotent
    }

    /// The guarded handler, and beside it, unguarded, how often its effect happened.
    pub(crate) fn router(self) -> Result<Router> {
        let app = App::default();
        let guarded = match self {
            Self::Bare => bare(&app),
            #[cfg(feature = "ours")]
            Self::Ours => idempotent_benches::ours(&app, large_store()),
            #[cfg(feature = "ours")]
            Self::OursInState => idempotent_benches::ours_in_state(&app, large_store()),
            Self::Floor => floor(&app),
            Self::Idempotent => with_idempotent(&app)?,
            Self::AxumIdempotent => with_axum_idempotent(&app),
        };
        Ok(guarded.route("/effects", get(async move || app.effects().to_string())))
    }
}

/// More than the 256 MiB that the store would refuse new keys at.
#[cfg(feature = "ours")]
fn large_store() -> idempotent_runtime::MemoryStore {
    idempotent_runtime::MemoryStore::builder().budget(16 << 30).build()
}

/// As its README shows, with its defaults (a day is one of them); no scope.
fn with_idempotent(app: &App) -> Result<Router> {
    use idempotent::{memory::MemoryStore, middleware::IdempotencyLayer};

    let store = MemoryStore::builder().try_build()?;
    Ok(bare(app).layer(IdempotencyLayer::new(store)))
}

/// As its README shows, in its faster mode (the key is a header, nothing is hashed).
///
/// The store holds more sessions than by default (10,000), so that it evicts no record here.
fn with_axum_idempotent(app: &App) -> Router {
    let store = Arc::new(MokaStore::builder().max_capacity(10_000_000).build());
    let options = IdempotentOptions::default()
        .use_idempotency_key_header(Some("Idempotency-Key"), true)
        .expire_after(DAY.into());
    let cookie = CookieOptions::build().name(crate::load::COOKIE).max_age(DAY.into()).path("/");
    bare(app)
        .layer(IdempotentLayer::<MokaStore>::new(options))
        .layer(SessionLayer::new(store).with_cookie_options(cookie))
        .layer(CookieManagerLayer::new())
}
