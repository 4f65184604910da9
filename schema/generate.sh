#!/usr/bin/env bash
# Writes the Rust of the schema into the folder given (default: src/generated). Needs `capnp` (Debian: capnproto).
set -euo pipefail
cd "$(dirname "$0")"
out="${1:-src/generated}"
mkdir -p "$out"
cargo run --quiet --package mainstem-schema --example generate -- "$out" batch.capnp error.capnp frame.capnp peer.capnp
