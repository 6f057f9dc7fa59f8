'use strict'
// JavaScript in several threads, and a core taken by one that is not the main thread.
//
//   node example/workers.js          (WORKERS=3;  CAPTURE=core: the bare core, else the archive)
//
// Every worker has a heap of its own, and all of them are in the core, whoever took it: it is a copy
// of the process. The one stack in it is that of the thread that called. A worker that ends takes
// its capture down with it, so this one waits for the file before it ends.

const { once } = require('node:events')
const { isMainThread, parentPort, threadId, Worker, workerData } = require('node:worker_threads')

const stillcore = require('..') // in your service: require('stillcore')
const { marker } = require('./markers')

const MARKERS = 1000

// marker('worker0', 0 ... 999) is the main thread's, marker('worker1', ...) the first worker's.
function fill(n) {
  return Array.from({ length: MARKERS }, (_, i) => ({ i, text: marker(`worker${n}`, i), half: i / 2 }))
}

async function main() {
  const kept = fill(0)
  const count = Number(process.env.WORKERS || 3)
  const workers = Array.from({ length: count }, (_, n) => new Worker(__filename, { workerData: n + 1 }))
  await Promise.all(workers.map((worker) => once(worker, 'message')))
  console.log(JSON.stringify({ pid: process.pid, workers: count, markers: MARKERS }))

  workers[0].postMessage('capture')
  const [answer] = await once(workers[0], 'message')
  for (const worker of workers) worker.postMessage('end')
  await Promise.all(workers.map((worker) => once(worker, 'exit')))
  console.log(JSON.stringify({ ...answer, kept: kept.length }))
  if (answer.error) process.exitCode = 1
}

function work() {
  const kept = fill(workerData)
  let sum = 0
  const timer = setInterval(() => {
    for (const item of kept) sum += item.half
  }, 1)
  parentPort.on('message', async (message) => {
    if (message === 'end') {
      clearInterval(timer)
      return parentPort.close()
    }
    const take = process.env.CAPTURE === 'core' ? stillcore.createCore : stillcore.collectCore
    try {
      parentPort.postMessage({ file: await take(), takenBy: threadId })
    } catch (error) {
      parentPort.postMessage({ error: { code: error.code, message: error.message } })
    }
  })
  parentPort.postMessage('ready')
}

if (isMainThread) main()
else work()
