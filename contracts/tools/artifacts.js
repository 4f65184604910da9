#!/usr/bin/env node
// Writes abi and bytecode of every contract that the node uses into artifacts/, and of those that its tests use into artifacts/test/;
// with --check compares instead.
'use strict';
const fs = require('fs');
const path = require('path');
const root = path.join(__dirname, '..');
const names = ['DATAcoin', 'Stream', 'StreamRegistry', 'EventVerifier', 'NetworkCoordinator'];
const tests = ['OwnedSigner'];
let stale = 0;
for (const name of [...names, ...tests]) {
  const built = JSON.parse(fs.readFileSync(path.join(root, 'out', `${name}.sol`, `${name}.json`), 'utf8'));
  const artifact = {
    contractName: name,
    abi: built.abi,
    bytecode: built.bytecode.object,
    deployedBytecode: built.deployedBytecode.object,
  };
  const text = JSON.stringify(artifact, null, 1) + '\n';
  const place = tests.includes(name) ? `test/${name}.json` : `${name}.json`;
  const file = path.join(root, 'artifacts', place);
  if (!process.argv.includes('--check')) {
    fs.mkdirSync(path.dirname(file), { recursive: true });
    fs.writeFileSync(file, text);
  } else if (!fs.existsSync(file) || fs.readFileSync(file, 'utf8') !== text) {
    console.error(`artifacts/${place} is stale: run \`npm run artifacts\` after \`forge build\``);
    stale += 1;
  }
}
if (stale === 0) console.log(`${names.length + tests.length} artifacts ${process.argv.includes('--check') ? 'fresh' : 'written'}`);
process.exit(stale ? 1 : 0);
