# Sourced by the scripts beside it: which versions are needed, and a sentence for who has another.
# shellcheck shell=bash

# Of Cargo.toml, where cargo reads it too.
RUST_MIN="$(sed -n 's/^rust-version *= *"\([0-9.]*\)".*/\1/p' Cargo.toml)"
NODE_MIN=20
PYTHON_MIN=3.11

# Whether version $1 is $2 or newer.
is_at_least() {
    [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]
}

# The first number like 1.2.3 in a text.
version_in() {
    printf '%s\n' "$1" | sed -n 's/^[^0-9]*\([0-9][0-9.]*\).*/\1/p' | head -n 1
}

# name, command that tells the version, least version, remedy. Says what is amiss and ends the script.
need_version() {
    local said found
    said="$($2 2>/dev/null)" || {
        echo "error: $1 is missing; $3 or newer is needed: $4" >&2
        exit 1
    }
    found="$(version_in "$said")"
    is_at_least "${found:-0}" "$3" || {
        echo "error: $1 is version ${found:-unknown}; $3 or newer is needed: $4" >&2
        exit 1
    }
}

need_rust() {
    if ! command -v cargo >/dev/null && [ -f "$HOME/.cargo/env" ]; then
        # shellcheck disable=SC1091
        . "$HOME/.cargo/env"
    fi
    need_version "Rust (cargo)" "cargo --version" "$RUST_MIN" "run \`rustup update stable\`, or install it with
    curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y"
}
