#!/bin/sh
# The storm of examples/orders at its full size: MESSAGES orders, each delivered 1 to 5 times in
# random order to 4 consumer processes, of which each is killed with SIGKILL a
# second after it has begun to consume.
#
#   benches/orders-storm.sh [MESSAGES [SEED]]
#
# Needs PostgreSQL (its programs, or DATABASE_URL) and nats-server. Ends with 0 when every message had
# its effect exactly once and `reconcile` found nothing; prints how long it took.
set -eu
cd "$(dirname "$0")/.."
ORDERS_STORM_MESSAGES="${1:-20000}"
ORDERS_STORM_SEED="${2:-20261122}"
export ORDERS_STORM_MESSAGES ORDERS_STORM_SEED IDEMPOTENT_REQUIRE_SERVICES=1
exec cargo test --release -p orders --test e2e -- storm --nocapture
