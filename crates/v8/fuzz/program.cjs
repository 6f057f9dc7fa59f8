// The process of heap.image: a value of each kind, suspended functions, and a core of itself from a known stack. See README.md.
'use strict';
const { capture } = require('./index.js');

class Point {
  #secret = 1;
  constructor(x) { this.x = x; }
}
async function waits(never) { await never; }
function deepest(label, object) { return capture({ method: 'direct', what: 'core', directory: process.argv[2] }); }
function middle(n) {
  return [n].map((one) => deepest('label', {
    one, map: new Map([[1, 'a']]), set: new Set([1]), date: new Date(0), error: new Error('e'), re: /a/g, point: new Point(n),
    big: 123456789012345678901234567890n, buffer: Buffer.from('bytes'), text: 'cons ' + n + ' string of parts '.repeat(3),
    array: [1.5, , 2], bound: deepest.bind(1, 2),
  }));
}
globalThis.kept = [waits(new Promise(() => {})), (function* () { yield 1; })(), new WeakMap([[Point, 1]]), new Proxy({}, {})];
middle(42);
