#!/usr/bin/env bash
# Builds every plugin of plugins/ into ${CARGO_TARGET_DIR:-target}/plugins/NAME.wasm, with its manifest, and says its size and SHA-256.
# A folder with a Cargo.toml is Rust, one with a plugin.c is C, one with an assembly/index.ts is AssemblyScript. Names given as
# arguments are folders of plugins/; without any, all are built.
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

rust=() c=() assembly=()
for name in "${names[@]}"; do
    if [ -f "plugins/$name/Cargo.toml" ]; then
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
    "$target/debug/mainstem-plugin-build" "$2" "plugins/$1/plugin.toml" "$out/$1.wasm"
}

if [ ${#rust[@]} -gt 0 ]; then
    need_wasm_rust
    echo "building ${rust[*]} with $WASM_RUST"
    wasm_cargo build --locked --quiet --profile plugin "${rust[@]/#/--package=mainstem-plugin-}"
    for name in "${rust[@]}"; do
        module="mainstem_plugin_${name//-/_}.wasm"
        attach "$name" "$(wasm_target)/wasm32-unknown-unknown/plugin/$module"
    done
fi

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
