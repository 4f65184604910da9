#!/usr/bin/env bash
# Schemathesis against a node of its own: requests made from the node's OpenAPI document, valid and not. Fails at the first
# server error, undocumented answer, or bad input that was taken. CASES for each operation, SEED to repeat a run.
set -euo pipefail
cd "$(dirname "$0")/.."
version="schemathesis==4.32.0"
work="$(mktemp -d)"
node=""
finish() {
    [ -z "$node" ] || { kill "$node" 2>/dev/null; wait "$node" 2>/dev/null; } || true
    rm -rf "$work"
}
trap finish EXIT

command -v schemathesis >/dev/null || {
    echo "installing $version"
    python3 -m venv "$work/python"
    "$work/python/bin/pip" install --quiet "$version"
    PATH="$work/python/bin:$PATH"
}
program="${MAINSTEM_BIN:-}"
if [ -z "$program" ]; then
    cargo build --release --quiet --package mainstem
    program="${CARGO_TARGET_DIR:-target}/release/mainstem"
fi
"$program" --data-dir "$work/data" dev --quic-port 0 --http-port 0 --rpc-port 0 >/dev/null &
node=$!
profile="$work/data/dev/connection.json"
until [ -f "$profile" ]; do
    kill -0 "$node" || { echo "the node did not come up" >&2; exit 1; }
    sleep 0.1
done
http="$(python3 -c 'import json,sys; print(json.load(open(sys.argv[1]))["http"])' "$profile")"
cd "$work"
# Some rules cannot be said in a schema (a signature must fit), so valid-looking input may be refused.
schemathesis run "$http/openapi.json" -H "Authorization: Bearer dev" --max-examples "${CASES:-600}" \
    --seed "${SEED:-1}" --exclude-checks positive_data_acceptance --continue-on-failure
kill -0 "$node" || { echo "the node ended under the requests" >&2; exit 1; }
