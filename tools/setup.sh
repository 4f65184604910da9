#!/usr/bin/env bash
# Brings what the tests need beside Rust: the Cap'n Proto compiler, compilers for plugins and the packages of the contracts. Says
# what it does.
set -euo pipefail
cd "$(dirname "$0")/.."

missing() {
    echo "missing: $1" >&2
    echo "         $2" >&2
    exit 1
}

# shellcheck source=tools/versions.sh
. tools/versions.sh

need_tools() {
    need_rust
    need_version "Node.js (node)" "node --version" "$NODE_MIN" "install it from https://nodejs.org or your system's packages"
    need_version "npm" "npm --version" 9 "it comes with Node.js; Debian and Ubuntu have it in a package npm of its own"
    need_version "Python (python3)" "python3 --version" "$PYTHON_MIN" "install it from your system's packages"
}
need_tools

# Debian's packages, or the sentence for those who have none: what, remedy, packages.
install() {
    local what="$1" remedy="$2"
    shift 2
    command -v apt-get >/dev/null || missing "$what" "$remedy"
    local as_root=""
    [ "$(id -u)" = 0 ] || as_root="sudo"
    echo "installing $*"
    $as_root apt-get update -qq
    $as_root apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

if ! python3 -m pip --version >/dev/null 2>&1; then
    install "pip for Python (python3 -m pip)" "python3 -m ensurepip, or your system's package python3-pip" python3-pip
fi
if ! command -v capnp >/dev/null; then
    install "the Cap'n Proto compiler (capnp)" "brew install capnp, or your system's package capnproto" capnproto
fi

# shellcheck source=tools/wasm.sh
. tools/wasm.sh
if ! has_wasm_target && ! has_debian_rust; then
    if command -v rustup >/dev/null && rustup target add wasm32-unknown-unknown; then
        echo "added Rust's target wasm32-unknown-unknown"
    else
        install "Rust's target wasm32-unknown-unknown" "rustup target add wasm32-unknown-unknown" \
            rustc-web cargo-web rust-web-src lld
    fi
fi
if ! has_wasm_c; then
    install "a C compiler for wasm32" "brew install llvm lld, or your system's packages clang and lld" clang lld
fi

for folder in contracts examples/foreign-signer node/overlay/tests/js plugins/scale-as; do
    [ -f "$folder/package-lock.json" ] || continue
    if [ ! -d "$folder/node_modules" ] || [ "$folder/package-lock.json" -nt "$folder/node_modules/.package-lock.json" ]; then
        echo "installing the packages of $folder"
        # npm ci takes no lock file that leaves out packages of other systems; npm install takes the same versions from it.
        (cd "$folder" && npm install --no-save --ignore-scripts --no-audit --no-fund --loglevel=error)
    fi
done
