#!/usr/bin/env bash
# Writes the Rust of the schema where it is committed. Needs `capnp` (Debian: capnproto).
set -euo pipefail
cd "$(dirname "$0")"
generate="cargo run --quiet --package mainstem-schema --example generate --"
$generate src/generated batch.capnp error.capnp frame.capnp peer.capnp
$generate ../plugin-api/abi/src/generated plugin.capnp
