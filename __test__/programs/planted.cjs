// Objects that are held in every way there is, and some that are not: then v8.writeHeapSnapshot, and at once a core of
// itself in the folder named by the first argument. What it planted goes to stdout.
//
//   node --expose-gc planted.cjs FOLDER
'use strict';
const crypto = require('node:crypto');
const path = require('node:path');
const v8 = require('node:v8');
const net = require('node:net');

const folder = process.argv[2];
const stillcore = require(path.join(__dirname, '..', '..', 'index.js'));

class PlantedArray { constructor(n) { this.n = n; this.half = n / 2; } }
class PlantedChild extends PlantedArray { constructor(n) { super(n); this.name = `child ${n}`; } }
class PlantedTable { constructor(n) { this.n = n; } }
class PlantedKey { constructor(n) { this.n = n; } }
class PlantedValue { constructor(n) { this.n = n; } }
class PlantedEntry {}
class PlantedDeadValue { constructor(n) { this.n = n; } }
class PlantedClosure { constructor(n) { this.n = n; } }
class PlantedTimer { constructor(n) { this.n = n; } }
class PlantedRequest { constructor(n) { this.n = n; } }
class PlantedHandle { constructor(n) { this.n = n; } }
class PlantedPromise { constructor(n) { this.n = n; } }
class PlantedMicrotask { constructor(n) { this.n = n; } }
class PlantedWeak { constructor(n) { this.n = n; } }
class PlantedLink { constructor(n, next) { this.n = n; this.next = next; } }
class PlantedEnd { constructor() { this.far = true; } }
class PlantedGarbage { constructor(n) { this.n = n; this.more = { n }; } }

const kept = {};
globalThis.kept = kept;

function plant() {
  kept.array = Array.from({ length: 3000 }, (_, n) => new PlantedArray(n));
  kept.children = Array.from({ length: 500 }, (_, n) => new PlantedChild(n));
  kept.table = Object.create(null);
  for (let n = 0; n < 400; n++) kept.table[`key ${n * 7}`] = new PlantedTable(n);
  for (let n = 0; n < 300; n++) delete kept.table[`key ${n * 7}`];
  kept.map = new WeakMap();
  kept.registry = new Map([[1, 'one'], ['by this key', new PlantedEntry()]]);
  kept.registry.set({ n: 1 }, kept.registry.get('by this key')).set(kept.registry.get('by this key'), 'a key');
  kept.keys = [];
  for (let n = 0; n < 250; n++) {
    const key = new PlantedKey(n);
    kept.keys.push(key);
    kept.map.set(key, new PlantedValue(n));
    kept.map.set({ n }, new PlantedDeadValue(n));
  }
  // A chain of keys in one table: each value is the next key.
  let key = kept.keys[0];
  for (let n = 0; n < 60; n++) {
    const next = new PlantedValue(n);
    kept.chain ??= new WeakMap();
    kept.chain.set(key, next);
    key = next;
  }
  kept.functions = Array.from({ length: 120 }, (_, n) => { const held = new PlantedClosure(n); return () => held.n; });
  for (let n = 0; n < 33; n++) { const held = new PlantedTimer(n); setTimeout(() => held.n, 1e7).unref(); }
  const never = new Promise(() => {});
  for (let n = 0; n < 44; n++) { const held = new PlantedPromise(n); never.then(() => held.n); }
  kept.never = never;
  const server = net.createServer();
  const held = new PlantedHandle(0);
  server.on('connection', () => held.n);
  server.listen(0, '127.0.0.1');
  kept.weak = Array.from({ length: 200 }, (_, n) => new WeakRef(new PlantedWeak(n)));
  let link = new PlantedEnd();
  for (let n = 0; n < 100_000; n++) link = new PlantedLink(n, link);
  kept.link = link;
}

function requests() {
  for (let n = 0; n < 3; n++) {
    const held = new PlantedRequest(n);
    crypto.pbkdf2('secret', 'salt', 3e7, 64, 'sha512', () => held.n);
  }
}

function microtasks() {
  for (let n = 0; n < 25; n++) { const held = new PlantedMicrotask(n); Promise.resolve().then(() => held.n); }
}

function garbage() {
  let last;
  for (let n = 0; n < 20_000; n++) last = new PlantedGarbage(n);
  return last.n;
}

plant();
// WeakRefs keep what they refer to until the end of the turn they were made in.
setTimeout(() => {
  requests();
  microtasks();
  globalThis.gc();
  globalThis.gc();
  v8.writeHeapSnapshot(path.join(folder, 'planted.heapsnapshot'));
  garbage();
  const [memory, spaces] = [process.memoryUsage(), v8.getHeapSpaceStatistics()];
  stillcore.capture({ method: 'direct', what: 'core', directory: folder }).then(({ path: core }) => {
    // The requests are never finished: an orderly end would wait for them.
    process.stdout.write(JSON.stringify({ core, memory, spaces }), () => process.kill(process.pid, 'SIGKILL'));
  });
}, 50);
