#!/usr/bin/env bash
# The plugin s3 against a server that speaks S3 (moto, which checks signatures too): its own tests, the whole suite of the store, and a
# node. Brings that server into target/s3 and ends it; a command given as arguments runs beside it instead, with MAINSTEM_S3 (where it is)
# and MAINSTEM_S3_KEYS (id:key). Wants Python with pip and what tools/setup.sh brings.
set -euo pipefail
cd "$(dirname "$0")/.."

# shellcheck source=tools/versions.sh
. tools/versions.sh
need_rust
need_version "Python (python3)" "python3 --version" "$PYTHON_MIN" "install it from your system's packages"

wanted=tools/s3-requirements.txt
folder="${CARGO_TARGET_DIR:-$PWD/target}/s3"
export PYTHONPATH="$folder"
# The copy is written when all of it is there.
if ! cmp -s "$wanted" "$folder/requirements.txt"; then
    # A folder, no environment of its own: Debian's python3 makes none without the package python3-venv.
    python3 -m pip --version >/dev/null 2>&1 || {
        echo "missing: pip for python3" >&2
        echo "         install your system's package python3-pip" >&2
        exit 1
    }
    echo "installing what $wanted names into $folder"
    rm -rf "$folder"
    # Of what moto's server wants, what S3 and IAM need: all of it is more than twice as much. Each file is held to its SHA-256.
    python3 -m pip install --quiet --disable-pip-version-check --no-warn-conflicts --root-user-action=ignore --target "$folder" \
        --require-hashes --requirement "$wanted"
    cp "$wanted" "$folder/requirements.txt"
fi
[ $# -gt 0 ] || tools/plugins.sh memory segments s3
exec python3 tools/s3.py "$@"
