#!/usr/bin/env bash
# What the attribute costs when a service is built: so many handlers, with it and without it, in a package
# of their own. The dependencies are built before. Each figure is the least of three.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
count=${1:-200}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

mkdir -p "$work/src"
cp "$root/Cargo.lock" "$work/"
cat >"$work/Cargo.toml" <<EOF
[package]
name = "compile-time"
version = "0.1.0"
edition = "2024"
[workspace]
[features]
guarded = []
[dependencies]
axum = { version = "0.8", default-features = false, features = ["json", "matched-path", "original-uri", "tokio"] }
idempotent-runtime = { path = "$root/idempotent-runtime" }
serde = { version = "1", features = ["derive"] }
EOF
{
    cat <<'EOF'
#![allow(unused)]
use axum::{Json, Router, extract::State, routing::post};
use idempotent_runtime::idempotent;
#[derive(Clone)]
pub struct App;
#[derive(serde::Serialize, serde::Deserialize)]
pub struct Payment {
    amount: u64,
}
async fn store(_: &App, payment: Payment) -> Result<Payment, String> {
    Ok(payment)
}
EOF
    for n in $(seq "$count"); do
        cat <<EOF
#[cfg_attr(feature = "guarded", idempotent(key = header("Idempotency-Key"), ttl = "24h"))]
async fn create_$n(State(app): State<App>, Json(new): Json<Payment>) -> Result<Json<Payment>, String> {
    let payment = store(&app, new).await?;
    Ok(Json(payment))
}
EOF
    done
    echo "pub fn routes() -> Router<App> { Router::new()"
    for n in $(seq "$count"); do echo "    .route(\"/$n\", post(create_$n))"; done
    echo "}"
} >"$work/src/lib.rs"

cd "$work"
export CARGO_INCREMENTAL=0 CARGO_TERM_QUIET=true
least() {
    local best=
    for _ in 1 2 3; do
        touch src/lib.rs
        local begun ended
        begun=$(date +%s%N)
        cargo "$@"
        ended=$(date +%s%N)
        local took=$(((ended - begun) / 1000))
        if [ -z "$best" ] || [ "$took" -lt "$best" ]; then best=$took; fi
    done
    echo "$best"
}
for what in check build; do
    cargo "$what"
    cargo "$what" --features guarded
    bare=$(least "$what")
    guarded=$(least "$what" --features guarded)
    echo "$what: $((bare / count)) µs a handler, guarded $((guarded / count)) µs"
done
