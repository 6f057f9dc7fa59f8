'use strict'
// A leak, the classic one: a cache that nobody evicts, and a listener for each of its entries. The
// process looks after itself: when the heap passes a limit it takes a core, once, and names it.
//
//   node example/leak.js             (LEAK_MB=128: the limit;  LEAK_ON=1: go on leaking afterwards)
//
// The core then answers what grew: `cache` holds one Entry per request, `bus` one closure per Entry.

const { EventEmitter } = require('node:events')

const { collectCore } = require('..') // in your service: require('stillcore')
const { marker } = require('./markers')

const limit = Number(process.env.LEAK_MB || 128) * 1024 * 1024
const cache = new Map()
const bus = new EventEmitter().setMaxListeners(0)
let requests = 0
let taken = false

class Entry {
  constructor(key) {
    this.key = key
    this.body = Array.from({ length: 64 }, (_, n) => ({ n, text: `${key} ${n}` }))
    this.hits = 0
  }
}

// The query string is part of the key, so no key is ever asked for twice.
function lookUp(request) {
  const key = marker('leak', request)
  if (!cache.has(key)) {
    const entry = new Entry(key)
    cache.set(key, entry)
    bus.on('flush', () => entry.hits++)
  }
  return cache.get(key)
}

async function takeCore() {
  const file = await collectCore()
  console.log(JSON.stringify({ file, entries: cache.size, listeners: bus.listenerCount('flush') }))
  if (!process.env.LEAK_ON) clearInterval(timer)
}

function work() {
  if (taken && !process.env.LEAK_ON) return
  for (let n = 0; n < 200; n++) lookUp(requests++)
  if (taken || process.memoryUsage().heapUsed < limit) return
  taken = true
  takeCore().catch((error) => {
    console.error(`${error.code}: ${error.message}`)
    process.exit(1)
  })
}

console.log(JSON.stringify({ pid: process.pid, limit }))
const timer = setInterval(work, 1)
