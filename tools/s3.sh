#!/usr/bin/env bash
# The plugin s3 against a server that speaks S3 (moto, which checks signatures too): its own test, and the whole suite of the store.
# Brings that server into target/s3 and ends it. Wants Python and what tools/setup.sh brings.
set -euo pipefail
cd "$(dirname "$0")/.."

# shellcheck source=tools/versions.sh
. tools/versions.sh
need_rust
need_version "Python (python3)" "python3 --version" "$PYTHON_MIN" "install it from your system's packages"

MOTO=5.2.5
folder="${CARGO_TARGET_DIR:-$PWD/target}/s3"
if ! "$folder/bin/python" -c "import moto, sys; sys.exit(moto.__version__ != '$MOTO')" 2>/dev/null; then
    echo "installing moto $MOTO into $folder"
    python3 -m venv "$folder"
    "$folder/bin/pip" install --quiet --disable-pip-version-check "moto[server]==$MOTO"
fi
[ $# -gt 0 ] || tools/plugins.sh memory segments s3
exec "$folder/bin/python" tools/s3.py "$@"
