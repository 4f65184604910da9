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

MOTO=5.2.5
folder="${CARGO_TARGET_DIR:-$PWD/target}/s3"
export PYTHONPATH="$folder"
if ! python3 -c "import moto, sys; sys.exit(moto.__version__ != '$MOTO')" 2>/dev/null; then
    # A folder, no environment of its own: Debian's python3 makes none without the package python3-venv.
    python3 -m pip --version >/dev/null 2>&1 || {
        echo "missing: pip for python3" >&2
        echo "         install your system's package python3-pip" >&2
        exit 1
    }
    echo "installing moto $MOTO into $folder"
    rm -rf "$folder"
    # Of what its server wants, what S3 and IAM need: all of it is more than twice as much.
    python3 -m pip install --quiet --disable-pip-version-check --no-warn-conflicts --root-user-action=ignore --target "$folder" \
        "moto[s3]==$MOTO" flask flask-cors
fi
[ $# -gt 0 ] || tools/plugins.sh memory segments s3
exec python3 tools/s3.py "$@"
