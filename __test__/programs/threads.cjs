'use strict';
// A process with threads of every kind, each in a place of its own, that takes a core of itself: threads of libuv's
// pool asleep in an open(), V8's workers, and two worker_threads in JavaScript, one that runs and one that waits.
//
//   node threads.cjs <options of capture() as JSON> [<milliseconds to wait before the capture>]
//
// Prints one line of JSON: the capture, what /proc said of the process just before, and the ids of its threads.

const fs = require('node:fs');
const { Worker } = require('node:worker_threads');
const stillcore = require('../..');

const options = JSON.parse(process.argv[2]);
const read = (path) => fs.readFileSync(path, 'latin1');

const spinning = `
  const { workerData, parentPort } = require('node:worker_threads');
  const flag = new Int32Array(workerData);
  function spinningFunction() { for (let i = 0; Atomics.load(flag, 0) === 0; i++) if (i === 1000) parentPort.postMessage('runs'); }
  spinningFunction();
`;
const waiting = `
  const { workerData, parentPort } = require('node:worker_threads');
  parentPort.postMessage('runs');
  Atomics.wait(new Int32Array(workerData), 0, 0);
`;

function threads() {
  return fs.readdirSync('/proc/self/task').map((tid) => ({ tid: Number(tid), name: read(`/proc/self/task/${tid}/comm`).trim() }));
}

async function main() {
  const flag = new SharedArrayBuffer(4);
  const workers = [spinning, waiting].map((source) => new Worker(source, { eval: true, workerData: flag }));
  await Promise.all(workers.map((worker) => new Promise((resolve) => worker.once('message', resolve))));
  // The pool comes to be with its first work, and with the capture's own.
  await fs.promises.stat('/');
  await new Promise((resolve) => setTimeout(resolve, Number(process.argv[3] ?? 200)));

  const before = threads();
  const about = {
    maps: read('/proc/self/maps'),
    auxv: fs.readFileSync('/proc/self/auxv').toString('hex'),
    stat: read('/proc/self/stat'),
    uid: process.getuid(),
    gid: process.getgid(),
  };
  const promise = stillcore.capture({ what: 'core', ...options });
  const capture = await promise.catch((error) => ({ error: { code: error.code, message: error.message } }));
  Atomics.store(new Int32Array(flag), 0, 1);
  Atomics.notify(new Int32Array(flag), 0);
  const ends = await Promise.all(workers.map((worker) => new Promise((resolve) => worker.once('exit', resolve))));
  console.log(JSON.stringify({ capture, threads: before, about, pid: process.pid, ends }));
}

main();
