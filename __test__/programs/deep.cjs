// Strings of a million parts, an array and a list of ten million, a string of half a billion characters, a million promises: then a core of itself in the folder that is named.
//
//   node deep.cjs FOLDER
'use strict';
const path = require('node:path');

class Deep {}

const deep = new Deep();
let left = 'begin';
let right = 'end';
for (let n = 0; n < 1_000_000; n++) {
  left += n % 10;
  right = (n % 10) + right;
}
deep.left = left;
deep.right = right;
deep.sliced = (left + right).slice(3, 40);
deep.array = new Array(10_000_000).fill(7);
deep.array[9_999_999] = 'last';
deep.doubles = new Array(10_000_000);
deep.doubles[9_999_999] = 0.5;
let list = null;
for (let n = 0; n < 10_000_000; n++) list = { n, next: list };
deep.list = list;
let nested = [];
for (let n = 0; n < 1_000_000; n++) nested = [nested];
deep.nested = nested;
deep.huge = '0123456789'.repeat(50_000_000);
deep.promises = Array.from({ length: 1_000_000 }, () => new Promise(() => {}));
globalThis.deep = deep;
// The strings as they are now: nothing here may look into them.
const capture = require(path.resolve(__dirname, '../..')).capture;
capture({ method: 'direct', what: 'core', directory: process.argv[2] });
