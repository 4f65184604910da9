# Sourced by the scripts beside it: compilers for wasm32, and a sentence for who has none.
# shellcheck shell=bash

# Where Debian's package rust-web-src has the sources of the standard library.
DEBIAN_LIBRARY=/usr/lib/rustlib/src/rust/library

# Whether the Rust that is in use comes with the standard library for wasm32.
has_wasm_target() {
    [ -d "$(rustc --print sysroot)/lib/rustlib/wasm32-unknown-unknown/lib" ]
}

# Whether Debian's Rust can build that library.
has_debian_rust() {
    [ -x /usr/bin/cargo ] && [ -x /usr/bin/rustc ] && [ -d "$DEBIAN_LIBRARY" ] && command -v wasm-ld >/dev/null
}

# Whether clang and its linker know wasm32.
has_wasm_c() {
    wasm_clang >/dev/null && command -v wasm-ld >/dev/null
}

# The first clang that knows wasm32; that of macOS does not.
wasm_clang() {
    local clang
    for clang in "${CLANG:-clang}" /opt/homebrew/opt/llvm/bin/clang /usr/local/opt/llvm/bin/clang; do
        if "$clang" --print-targets 2>/dev/null | grep -q wasm32; then
            echo "$clang"
            return 0
        fi
    done
    return 1
}

# Sets WASM_RUST to `target` or `debian`, or ends the script.
need_wasm_rust() {
    if has_wasm_target; then
        WASM_RUST=target
    elif has_debian_rust; then
        WASM_RUST=debian
    else
        echo "error: Rust has no standard library for wasm32; bring it with
    rustup target add wasm32-unknown-unknown
or, on Debian and Ubuntu, with
    apt-get install --no-install-recommends rustc-web cargo-web rust-web-src lld" >&2
        exit 1
    fi
}

need_wasm_c() {
    has_wasm_c && return
    echo "error: there is no C compiler for wasm32; install clang and lld from your system's packages
(on macOS: brew install llvm lld)" >&2
    exit 1
}

# Where wasm_cargo builds into; Debian's Rust is another version and would build everything anew.
wasm_target() {
    local target="${CARGO_TARGET_DIR:-$PWD/target}"
    if [ "$WASM_RUST" = debian ]; then echo "$target/wasm32"; else echo "$target"; fi
}

# cargo, for wasm32. A stack of 128 KiB leaves room for the data in a small memory. Paths of this machine are left out of the
# module, so that the same compiler makes the same module everywhere. WASM_FEATURES are features to add, such as +wide-arithmetic.
wasm_cargo() {
    local separator=$'\x1f' flags
    flags="-Clink-arg=-zstack-size=131072"
    flags+="$separator--remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=cargo"
    flags+="$separator--remap-path-prefix=$PWD=mainstem"
    [ -z "${WASM_FEATURES:-}" ] || flags+="$separator-Ctarget-feature=$WASM_FEATURES"
    if [ "$WASM_RUST" = debian ]; then
        CARGO_TARGET_DIR="$(wasm_target)" CARGO_ENCODED_RUSTFLAGS="$flags" RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1 \
            CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER=wasm-ld \
            /usr/bin/cargo "$@" --target wasm32-unknown-unknown -Zbuild-std=std,panic_abort
    else
        CARGO_ENCODED_RUSTFLAGS="$flags" cargo "$@" --target wasm32-unknown-unknown
    fi
}

# clang, for wasm32: no library, and copies by WebAssembly's own instructions.
wasm_cc() {
    "$(wasm_clang)" --target=wasm32 -std=c11 -O2 -ffreestanding -nostdlib -mbulk-memory -Wall -Wextra -Werror \
        -Wl,--no-entry -Wl,--stack-first -Wl,-z,stack-size=65536 -Wl,--strip-all "$@"
}

# Brings the packages of the folder that this is called in.
need_packages() {
    if [ ! -d node_modules ] || [ package-lock.json -nt node_modules/.package-lock.json ]; then
        npm install --no-save --ignore-scripts --no-audit --no-fund --loglevel=error
    fi
}
