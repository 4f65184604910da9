#!/usr/bin/env bash
# Everything that CI checks, in the order of what fails fastest. Stops at the first step that fails.
set -euo pipefail
cd "$(dirname "$0")/.."

summary=()
step() {
    local name="$1"
    shift
    printf '\n== %s\n' "$name"
    local begun=$SECONDS
    "$@"
    summary+=("$(printf '%5ds  %s' $((SECONDS - begun)) "$name")")
}

step "what the tests need" tools/setup.sh
export MAINSTEM_ANVIL="$PWD/contracts/node_modules/.bin/anvil"
step "formatting" cargo fmt --all --check
step "vectors are fresh" python3 conformance/vectors/generate.py --check
step "contracts" contracts/tools/test.sh
step "misbehaving plugins are fresh" python3 -B plugins/fixtures/generate.py --check
step "plugins" tools/plugins.sh
step "lints" cargo clippy --workspace --all-targets --features mainstem/flamegraph,mainstem/guests --quiet -- -D warnings
step "tests" cargo test --workspace --quiet
step "plugins/s3 over a real server" tools/s3.sh
hello_plugin() {
    local folder
    folder="$(mktemp -d)"
    MAINSTEM="${CARGO_TARGET_DIR:-$PWD/target}/debug/mainstem" DIR="$folder/hello" examples/hello-plugin/run.sh
    rm -rf "$folder"
}
step "examples/hello-plugin" hello_plugin
# With the compiler that `tools/plugins.sh` has brought.
assemblyscript_template() {
    local folder program
    folder="$(mktemp -d)"
    program="$(cd "${CARGO_TARGET_DIR:-target}/debug" && pwd)"
    "$program/mainstem" plugin new "$folder/louder" --kind operator --lang assemblyscript
    ln -s "$PWD/plugins/scale-as/node_modules" "$folder/louder/node_modules"
    (cd "$folder/louder" && PATH="$program:$PATH" npm run --silent build)
    "$program/mainstem" --data-dir "$folder/data" plugin check "$folder/louder/louder.wasm"
    rm -rf "$folder"
}
step "a plugin from the template in AssemblyScript" assemblyscript_template
if command -v cargo-deny >/dev/null; then
    step "dependencies" cargo deny --log-level error check bans licenses sources
else
    echo "cargo-deny is not installed: licences are not checked (cargo install --locked cargo-deny); bans are held by the structure tests"
fi

printf '\n== all steps passed\n'
printf '%s\n' "${summary[@]}"
