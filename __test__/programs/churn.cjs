// Allocates and collects without rest, so that whenever it is killed it is probably inside the garbage collector.
//
//   node --expose-gc churn.cjs scavenge | compact | incremental | grow
'use strict';
const how = process.argv[2] ?? 'scavenge';

class ChurnNode {
  constructor(n, next) {
    this.n = n;
    this.next = next;
    this.text = `node ${n}`;
    this.list = [n, n + 0.5, { n }];
  }
}

const kept = new Array(40_000).fill(undefined);
globalThis.kept = kept;
let n = 0;

function work(steps) {
  for (let i = 0; i < steps; i++) {
    const at = (n * 7919) % kept.length;
    kept[at] = new ChurnNode(n, i % 50 ? kept[(at + 1) % kept.length]?.list : null);
    if (n % 300 === 0) kept[at].map = new Map([[n, new Uint8Array(n % 200)], ['x', new Array(n % 5000).fill(n)]]);
    if (n % 1000 === 0) kept[at].code = new Function('a', `return a + ${n}`);
    n++;
  }
}

work(kept.length);
process.stdout.write('ready\n');
for (;;) {
  work(how === 'scavenge' ? 50_000 : 4000);
  if (how === 'compact') globalThis.gc();
  else if (how === 'scavenge') globalThis.gc({ type: 'minor' });
  else if (how === 'grow') kept.length < 400_000 ? kept.push(...new Array(2000).fill(undefined)) : kept.splice(40_000);
}
