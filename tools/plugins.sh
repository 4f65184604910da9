#!/usr/bin/env bash
# Builds every plugin of plugins/ into ${CARGO_TARGET_DIR:-target}/plugins/NAME.wasm, with its manifest, and says its size and SHA-256.
# A folder with a Cargo.toml is Rust, one with a plugin.c is C, one with an assembly/index.ts is AssemblyScript. Names given as
# arguments are folders of plugins/; without any, all are built. NAME+FEATURE is the one of NAME, if that is Rust, built with a feature
# of WebAssembly that compilers leave out by default, such as secp256k1+wide-arithmetic.
set -euo pipefail
cd "$(dirname "$0")/.."

# shellcheck source=tools/versions.sh
. tools/versions.sh
need_rust
# shellcheck source=tools/wasm.sh
. tools/wasm.sh

target="${CARGO_TARGET_DIR:-$PWD/target}"
out="$target/plugins"
mkdir -p "$out"

names=("$@")
[ ${#names[@]} -gt 0 ] || for toml in plugins/*/plugin.toml; do names+=("$(basename "$(dirname "$toml")")"); done

rust=() c=() assembly=() featured=()
for name in "${names[@]}"; do
    if [ "$name" != "${name%+*}" ] && [ -f "plugins/${name%+*}/Cargo.toml" ]; then
        featured+=("$name")
    elif [ -f "plugins/$name/Cargo.toml" ]; then
        rust+=("$name")
    elif [ -f "plugins/$name/plugin.c" ]; then
        c+=("$name")
    elif [ -f "plugins/$name/assembly/index.ts" ]; then
        assembly+=("$name")
    else
        echo "error: plugins/$name is no plugin: it needs a Cargo.toml, a plugin.c or an assembly/index.ts beside its plugin.toml" >&2
        exit 1
    fi
done

echo "building mainstem-plugin-build"
cargo build --locked --quiet --package mainstem-plugin-build
attach() {
    "$target/debug/mainstem-plugin-build" "$2" "plugins/${1%+*}/plugin.toml" "$out/$1.wasm"
}
rust_module() {
    local module="mainstem_plugin_${1//-/_}.wasm"
    echo "$(wasm_target)/wasm32-unknown-unknown/plugin/$module"
}

if [ ${#rust[@]} -gt 0 ]; then
    need_wasm_rust
    echo "building ${rust[*]} with $WASM_RUST"
    wasm_cargo build --locked --quiet --profile plugin "${rust[@]/#/--package=mainstem-plugin-}"
    for name in "${rust[@]}"; do
        attach "$name" "$(rust_module "$name")"
    done
fi

# Behind the others, whose modules these overwrite where cargo leaves them.
for name in ${featured[@]+"${featured[@]}"}; do
    need_wasm_rust
    echo "building ${name%+*} with $WASM_RUST and ${name##*+}"
    WASM_FEATURES="+${name##*+}" wasm_cargo build --locked --quiet --profile plugin --package="mainstem-plugin-${name%+*}"
    attach "$name" "$(rust_module "${name%+*}")"
done

if [ ${#c[@]} -gt 0 ]; then
    need_wasm_c
    for name in "${c[@]}"; do
        echo "building $name with clang"
        wasm_cc -o "$out/$name.module" "plugins/$name/plugin.c"
        attach "$name" "$out/$name.module"
        rm "$out/$name.module"
    done
fi

if [ ${#assembly[@]} -gt 0 ]; then
    for name in "${assembly[@]}"; do
        echo "building $name with AssemblyScript"
        (cd "plugins/$name" && need_packages && npm run --silent build -- --outFile "$out/$name.module")
        attach "$name" "$out/$name.module"
        rm "$out/$name.module"
    done
fi

sum() {
    if command -v sha256sum >/dev/null; then sha256sum "$1"; else shasum -a 256 "$1"; fi | cut -d ' ' -f 1
}
for name in "${names[@]}"; do
    printf '%9d  %s  %s\n' "$(wc -c <"$out/$name.wasm")" "$(sum "$out/$name.wasm")" "$out/$name.wasm"
done
