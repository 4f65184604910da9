#!/usr/bin/env bash
# Writes .gas-snapshot and snapshots/, or compares with them: tools/gas.sh [--check]. Each call runs as a transaction of its own.
set -euo pipefail
cd "$(dirname "$0")/.."
if [ "${1:-}" = --check ]; then export FORGE_SNAPSHOT_CHECK=true; else export FORGE_SNAPSHOT_EMIT=true; fi
exec node_modules/.bin/forge snapshot --match-contract GasTest --isolate "$@"
