// A process whose event loops wait, with a worker whose loop waits too; another worker takes its core. Promises are pending
// in every way: awaited, with handlers of then, catch and finally, and some that nobody can settle any more.
//
//   node idle.cjs FOLDER
'use strict';
const { join } = require('node:path');
const { Worker, isMainThread, workerData } = require('node:worker_threads');

class IdleHeld {}

if (!isMainThread) {
  if (workerData.capture) {
    const { createCore } = require(join(__dirname, '..', '..'));
    setTimeout(() => createCore({ directory: workerData.capture, method: 'direct' }, (error, path) => {
      console.log(JSON.stringify({ error: error?.message, path }));
      process.exit();
    }), 300);
  } else {
    globalThis.kept = [new IdleHeld()];
    setInterval(() => {}, 100_000);
  }
} else {
  globalThis.held = Array.from({ length: 20 }, () => new IdleHeld());
  for (let count = 0; count < 5000; count++) new IdleHeld();

  const pending = () => {
    let resolve;
    const promise = new Promise((settle) => { resolve = settle; });
    (globalThis.resolvers ??= []).push(resolve);
    return promise;
  };
  pending().then(function onValue() {});
  pending().catch(function onError() {});
  pending().finally(function onEnd() {});
  (async function awaitsHeld() { await pending(); })();
  // The function that was to settle it was never kept: a callback that got lost.
  async function awaitsLost() { await new Promise(function forgets() {}); }
  for (let count = 0; count < 50; count++) awaitsLost();
  async function awaitsInCrowd() { await pending(); }
  for (let count = 0; count < 30; count++) awaitsInCrowd();

  new Worker(__filename, { workerData: {} });
  const taker = new Worker(__filename, { workerData: { capture: process.argv[2] } });
  taker.on('exit', () => process.exit());
  setInterval(() => {}, 100_000);
}
