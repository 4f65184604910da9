#!/usr/bin/env bash
# Everything that holds the contracts: compiler, tests, trees, gas, artifacts. Needs Linux on x86_64 and Node 20 or newer.
# Quiet when all is well; else it prints what the step that failed printed.
set -euo pipefail
cd "$(dirname "$0")/.."

stop() {
  printf 'contracts: %s\n' "$*" >&2
  exit 1
}

command -v node >/dev/null || stop "node is missing; install Node 20 or newer"
command -v npm >/dev/null || stop "npm is missing; it comes with Node"
node -e 'process.exit(Number(process.versions.node.split(".")[0]) < 20 ? 1 : 0)' ||
  stop "Node $(node --version) is too old; 20 or newer is needed"
[ "$(uname -s) $(uname -m)" = "Linux x86_64" ] ||
  stop "no forge for $(uname -s) $(uname -m): package.json names @foundry-rs/forge-linux-amd64 and" \
    "@foundry-rs/anvil-linux-amd64 only. Put a forge of the same version for this platform into node_modules/.bin," \
    "or run on Linux x86_64. The Rust crates need neither: they read the committed artifacts/"

log=$(mktemp)
trap 'rm -f "$log"' EXIT
step() {
  local name=$1
  shift
  "$@" >"$log" 2>&1 || {
    cat "$log" >&2
    stop "$name failed"
  }
}

if [ ! -f node_modules/.package-lock.json ] || [ package-lock.json -nt node_modules/.package-lock.json ]; then
  step "npm ci" npm ci --ignore-scripts --no-audit --no-fund
fi
forge=node_modules/.bin/forge
step "forge --version" "$forge" --version

step "the trees" node tools/trees.js
leaves=$(cat "$log")
step "forge build" "$forge" build
step "forge fmt" "$forge" fmt --check src test
step "forge lint" "$forge" lint --deny warnings src
step "the freshness of artifacts/ (npm run artifacts writes them)" node tools/artifacts.js --check
artifacts=$(cat "$log")
step "forge test" "$forge" test --no-match-contract GasTest
tests=$(grep -Eo '[0-9]+ tests passed, 0 failed' "$log" | tail -n 1)
step "the gas snapshot (tools/gas.sh writes it)" tools/gas.sh --check
gas=$(grep -c . .gas-snapshot)
printf 'contracts: %s; %s; gas of %s transactions as in the snapshot; %s\n' "$tests" "$leaves" "$gas" "$artifacts"
