// Dies in a way of its choice, with a known stack of JavaScript: the trace that V8 prints in the function that dies goes
// to stdout as JSON, { name, stack }, just before.
//
//   node dying.cjs HOW     HOW: scavenge | compact | memory | uncaught | uncaughtLater | rejected | handled | worker | ADDON.node
'use strict';
const fs = require('node:fs');
const { Worker, isMainThread, workerData } = require('node:worker_threads');

const how = workerData ?? process.argv[2];
Error.stackTraceLimit = Infinity;

function note(name) {
  fs.writeSync(1, `${JSON.stringify({ name, stack: new Error('here').stack.replace(/\n.*\n/, '\n') })}\n`);
}

class Batch {
  constructor() { this.items = []; this.add = function add(item) { this.items.push(item); }; }
  make(item) {
    const fill = () => { for (let n = 0; n < 2000; n++) this.add(item(n)); };
    fill();
    return this.items;
  }
}
class Heap {
  constructor() { this.kept = []; }
  /** Allocates for ever: what it keeps makes each collection long. The functions that run, too, are new each time. */
  churn() {
    note('Heap.churn');
    for (;;) {
      this.kept.push(new Batch().make((n) => ({ n, text: `a text ${n}`, list: [n, [n]] })));
      if (this.kept.length > 400) this.kept.splice(Math.floor(Math.random() * 200), 200);
    }
  }
  /** Asks for collections for ever. */
  collect() {
    for (let n = 0; n < 400_000; n++) this.kept.push({ n, text: `text ${n}`, list: [n] });
    note('Heap.collect');
    for (;;) globalThis.gc();
  }
  /** Keeps all that it allocates. */
  fill() {
    note('Heap.fill');
    for (let n = 0; ; n++) this.kept.push({ n, list: [n, n, n, n, n, n, n, n] });
  }
}
const scenarios = {
  scavenge() { return [1].map(function inMap() { return new Heap().churn(); }); },
  compact() { return [1].forEach(() => new Heap().collect()); },
  memory() { return Reflect.apply(new Heap().fill, new Heap(), []); },
  uncaught() { return JSON.parse('[1]', function reviver() { note('reviver'); throw new Error('uncaught'); }); },
  uncaughtLater() { setTimeout(function later() { note('later'); throw new TypeError('uncaught'); }, 1); },
  rejected() { return (async function inner() { await null; note('inner'); throw new RangeError('rejected'); })(); },
  handled() { process.on('uncaughtException', function caught() { note('process.caught'); process.abort(); }); return setTimeout(function later() { throw new TypeError('handled'); }, 1); },
  addon() { const { crash } = require(how); return [1].map(function native() { note('native'); return crash(() => 1); }); },
  worker() { return new Worker(__filename, { workerData: 'inWorker' }); },
  inWorker() { return new Map([[1, 2]]).forEach(function each() { note('each'); process.kill(process.pid, 'SIGABRT'); for (;;); }); },
};

function main() { return (scenarios[how] ?? scenarios.addon)(); }
if (how !== 'inWorker' || !isMainThread) setImmediate(main);
