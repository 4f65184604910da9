#!/usr/bin/env node
// Holds tests to their behaviour trees: every leaf names a test that exists, every test stands in its tree.
'use strict';
const fs = require('fs');
const path = require('path');
const root = path.join(__dirname, '..', 'test');
const files = fs.readdirSync(root, { recursive: true }).map(String);
const faults = [];
let leaves = 0;
for (const file of files.filter((name) => name.endsWith('.t.sol'))) {
  const source = fs.readFileSync(path.join(root, file), 'utf8');
  const tree = file.replace(/\.t\.sol$/, '.tree');
  if (!files.includes(tree)) {
    faults.push(`${file} has no ${tree}`);
    continue;
  }
  const tests = [...source.matchAll(/function ((?:test|check_|invariant_)\w*)\(/g)].map((match) => match[1]);
  const named = [...fs.readFileSync(path.join(root, tree), 'utf8').matchAll(/\[(\w+)\]/g)].map((match) => match[1]);
  for (const name of named) if (!tests.includes(name)) faults.push(`${tree}: ${name} is no test of ${file}`);
  for (const name of tests) if (!named.includes(name)) faults.push(`${file}: ${name} is not in ${tree}`);
  if (new Set(named).size !== named.length) faults.push(`${tree} names a test twice`);
  // A check that nothing calls checks nothing.
  for (const name of tests.filter((test) => test.startsWith('check_'))) {
    if (source.split(`${name}(`).length < 3) faults.push(`${file}: nothing calls ${name}`);
  }
  leaves += named.length;
}
for (const tree of files.filter((name) => name.endsWith('.tree'))) {
  if (!files.includes(tree.replace(/\.tree$/, '.t.sol'))) faults.push(`${tree} has no test file`);
}
for (const fault of faults) console.error(fault);
if (faults.length === 0) console.log(`${leaves} leaves`);
process.exit(faults.length ? 1 : 0);
