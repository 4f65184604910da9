#!/usr/bin/env bash
# From nothing to an event signed with a signature type of one's own, that a node takes in and a subscriber verifies; once with a
# plugin in Rust, once with one in C.
#
#   DIR=./hello      where everything lies; must not be there yet
#   MAINSTEM=mainstem   the program
set -euo pipefail

DIR="${DIR:-./hello}"
MAINSTEM="${MAINSTEM:-mainstem}"
[ ! -e "$DIR" ] || { echo "error: $DIR is there already: take another DIR" >&2; exit 1; }
mkdir -p "$DIR"
DIR="$(cd "$DIR" && pwd)"
begun=$SECONDS
say() { printf '\n== %s\n' "$1"; }
m() { "$MAINSTEM" --data-dir "$DIR/data" "$@"; }

say "a plugin for signature type 200, from a template"
cd "$DIR"
"$MAINSTEM" plugin new hello --kind signature --type 200 --lang rust
(cd hello && "$MAINSTEM" plugin build)
m plugin check hello/hello.wasm
m plugin install hello/hello.wasm

node=""
stop() {
    [ -z "$node" ] || { kill "$node" 2>/dev/null || true; wait "$node" 2>/dev/null || true; }
    node=""
}
trap stop EXIT
start() {
    rm -f "$DIR/data/dev/connection.json"
    "$MAINSTEM" --data-dir "$DIR/data" dev --quic-port 0 --http-port 0 --rpc-port 0 >>"$DIR/dev.log" 2>&1 &
    node=$!
    until [ -e "$DIR/data/dev/connection.json" ] && m stream search >/dev/null 2>&1; do
        kill -0 "$node" 2>/dev/null || { cat "$DIR/dev.log" >&2; exit 1; }
        sleep 0.2
    done
}

say "a node on this machine, with the plugin"
start

say "an event by that signature"
m stream create /hello --public subscribe,publish
printf '%064d\n' 7 >"$DIR/hello.key"
echo '{"hello": "plugin"}' | m --plugin hello --plugin-key-file "$DIR/hello.key" stream publish /hello

say "read by a subscriber that has the plugin, which verifies it"
m stream resend last 1 /hello | tee "$DIR/read.json"
grep -q '"hello"' "$DIR/read.json"

say "left out by one that has not: it cannot tell whose it is"
"$MAINSTEM" --data-dir "$DIR/other" --profile "$DIR/data/dev/connection.json" stream resend last 1 /hello \
    >"$DIR/other.json" 2>"$DIR/left-out.txt" || true
cat "$DIR/left-out.txt"
grep -q "signature type 200" "$DIR/left-out.txt"
[ ! -s "$DIR/other.json" ] || { echo "error: an event that nobody could verify was printed" >&2; exit 1; }

say "how the plugin does"
m plugin list

say "the same type in C: it takes the place of the other in the node and in the reader"
"$MAINSTEM" plugin new hello-c --kind signature --type 200 --lang c
(cd hello-c && "$MAINSTEM" plugin build)
m plugin check hello-c/hello-c.wasm
stop
m plugin remove hello
m plugin install hello-c/hello-c.wasm
start

say "who publishes has the one in Rust, which signs"
signer() { "$MAINSTEM" --data-dir "$DIR/signer" --profile "$DIR/data/dev/connection.json" "$@"; }
signer plugin install hello/hello.wasm
echo '{"hello": "from C"}' | signer --plugin hello --plugin-key-file "$DIR/hello.key" stream publish /hello
m stream resend last 2 /hello | tee "$DIR/read.json"
grep -q '"from C"' "$DIR/read.json"
grep -q '"plugin"' "$DIR/read.json"

printf '\nthat took %d s\n' "$((SECONDS - begun))"
