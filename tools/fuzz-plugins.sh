#!/usr/bin/env bash
# What a node reads of plugins, fuzzed: replies and manifests by RUNS executions in all, and host requests by a tenth of that. Fails at the
# first crash, and names its input. With KEEP=1 what was found is minimised into fuzz/corpus, which the tests run through too.
# SANITIZER is address unless it says none, which is some times as fast.
set -euo pipefail
cd "$(dirname "$0")/.."

command -v cargo-fuzz >/dev/null || {
    echo "error: cargo-fuzz is missing: cargo install --locked cargo-fuzz" >&2
    exit 1
}
# The fuzzer's flags are those of a nightly compiler; a stable one takes them when it is told to.
export RUSTC_BOOTSTRAP=1
runs="${RUNS:-10000000}"
options=(--features plugins --sanitizer "${SANITIZER:-address}")
found="${CARGO_TARGET_DIR:-$PWD/target}/fuzz-corpus"

fuzz() {
    local target="$1" runs="$2"
    mkdir -p "$found/$target"
    echo "== $target: $runs executions"
    # New inputs go into the first folder.
    cargo fuzz run "${options[@]}" "$target" "$found/$target" "fuzz/corpus/$target" -- \
        -runs="$runs" -max_len=4096 -rss_limit_mb=1024 -timeout=5 -print_final_stats=1 -verbosity=0
    [ -z "${KEEP:-}" ] || {
        cp "fuzz/corpus/$target"/* "$found/$target"
        cargo fuzz cmin "${options[@]}" "$target" "$found/$target" -- -max_len=4096
        rm -r "fuzz/corpus/$target"
        cp -r "$found/$target" "fuzz/corpus/$target"
    }
}

fuzz plugin_reply $((runs - runs / 4))
fuzz plugin_manifest $((runs / 4))
fuzz plugin_request $((runs / 10))
