#!/usr/bin/env bash
# Brings what the tests need beside Rust: the Cap'n Proto compiler and the packages of the contracts. Says what it does.
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

if ! command -v capnp >/dev/null; then
    if command -v apt-get >/dev/null; then
        as_root=""
        [ "$(id -u)" = 0 ] || as_root="sudo"
        echo "installing capnproto"
        $as_root apt-get update -qq
        $as_root apt-get install -y -qq --no-install-recommends capnproto >/dev/null
    else
        missing "the Cap'n Proto compiler (capnp)" "brew install capnp, or your system's package capnproto"
    fi
fi

for folder in contracts examples/foreign-signer node/overlay/tests/js; do
    [ -f "$folder/package-lock.json" ] || continue
    if [ ! -d "$folder/node_modules" ] || [ "$folder/package-lock.json" -nt "$folder/node_modules/.package-lock.json" ]; then
        echo "installing the packages of $folder"
        # npm ci takes no lock file that leaves out packages of other systems; npm install takes the same versions from it.
        (cd "$folder" && npm install --no-save --ignore-scripts --no-audit --no-fund --loglevel=error)
    fi
done
