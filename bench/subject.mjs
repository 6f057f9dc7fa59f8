// The process that is measured. It builds its heap and then does what the bench asks, by messages:
// { task, options } in, { result } or { error } out. Subject is the bench's side of it.

import { fork, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync, statSync, writeFileSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import v8 from 'node:v8'

import { buildHeap } from './heap.mjs'
import { loadNative } from './native.mjs'

const FILE = fileURLToPath(import.meta.url)

export class Subject {
  #child

  static async start(megabytes, { node = process.env.NODE || process.execPath, directory } = {}) {
    const subject = new Subject(fork(FILE, [String(megabytes)], {
      execPath: node,
      execArgv: ['--expose-gc', `--max-old-space-size=${Math.ceil(megabytes * 1.5 + 1024)}`],
      env: { ...process.env, STILLCORE_DIRECTORY: directory },
    }))
    subject.about = await subject.#answer()
    return subject
  }

  constructor(child) {
    this.#child = child
  }

  get pid() {
    return this.#child.pid
  }

  async run(task, options = {}) {
    this.#child.send({ task, options })
    return this.#answer()
  }

  async #answer() {
    const controller = new AbortController()
    const { signal } = controller
    const ended = once(this.#child, 'exit', { signal }).then(([code, by]) => {
      throw new Error(`the measured process ended: ${by ?? `exit code ${code}`}`)
    })
    ended.catch(() => {})
    const [message] = await Promise.race([once(this.#child, 'message', { signal }), ended]).finally(() => controller.abort())
    if (message.error) throw Object.assign(new Error(message.error.message), { code: message.error.code })
    return message.result
  }

  async stop() {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return
    this.#child.kill('SIGKILL')
    await once(this.#child, 'exit')
  }
}

// How long after a fork the loop is watched for what the fork itself cost.
const AFTER_FORK = 100
const SETTLE = 300

const stillcore = async () => (await import('../index.js')).default
const { Pauses } = (await import('../example/pauses.js')).default

const tasks = {
  // One bare fork: { callMs, gapMs }.
  async bare() {
    const native = loadNative()
    native.prepare()
    await sleep(SETTLE)
    try {
      return await watch(() => native.bareFork())
    } finally {
      native.restore()
    }
  },

  // One createCore, its core deleted: { callMs, gapMs, longestMs, doneMs }.
  async createCore(options) {
    const { createCore } = await stillcore()
    await sleep(SETTLE)
    let promise
    const start = performance.now()
    const pauses = new Pauses()
    const measured = await watch(() => {
      const begin = performance.now()
      promise = createCore(options)
      promise.catch(() => {})
      return performance.now() - begin
    })
    const file = await promise
    const doneMs = performance.now() - start
    const longestMs = pauses.longest
    pauses.stop()
    await rm(dirname(file), { recursive: true })
    return { ...measured, longestMs, doneMs }
  },

  // One collectCore, its archive deleted: { ms, memory before, peak and after }.
  async collectCore({ keep, ...options }) {
    const { collectCore } = await stillcore()
    globalThis.gc()
    await sleep(SETTLE)
    const before = memory()
    writeFileSync('/proc/self/clear_refs', '5') // VmHWM begins anew
    const start = performance.now()
    const file = await collectCore(options)
    const ms = performance.now() - start
    const after = memory()
    const bytes = statSync(file).size
    if (keep) return { file }
    await rm(file)
    return { ms, bytes, rssBefore: before.VmRSS, peak: after.VmHWM, pageTablesBefore: before.VmPTE, pageTablesAfter: after.VmPTE }
  },

  // That many more threads, some of them in a loop.
  async threads({ count, busy }) {
    const { Worker } = await import('node:worker_threads')
    for (let n = 0; n < count; n++) {
      const code = n < busy ? 'for (;;);' : 'setInterval(() => {}, 1e6)'
      this.workers = [...(this.workers ?? []), new Worker(code, { eval: true })]
    }
    await sleep(1000)
  },

  // The longest gap from `watch` to `unwatch`.
  async watch() {
    this.pauses = new Pauses()
    await sleep(50)
    this.pauses.reset()
  },
  async unwatch() {
    const longestMs = this.pauses.longest
    this.pauses.stop()
    return { longestMs }
  },

  async writeHeapSnapshot({ directory }) {
    const file = join(directory, 'bench.heapsnapshot')
    const start = performance.now()
    v8.writeHeapSnapshot(file)
    const callMs = performance.now() - start
    await rm(file)
    return { callMs }
  },

  // `count` times spawnSync('/bin/true'), each in ms.
  async spawn({ count }) {
    return Array.from({ length: count }, () => {
      const start = performance.now()
      spawnSync('/bin/true')
      return performance.now() - start
    })
  },
}

// `work` does the thing and tells its ms; the gap is what a 1 ms ticker saw of it.
async function watch(work) {
  const pauses = new Pauses()
  await sleep(20)
  pauses.reset()
  const callMs = work()
  await sleep(AFTER_FORK)
  const gapMs = pauses.longest
  pauses.stop()
  return { callMs, gapMs }
}

// Bytes, from /proc/self/status.
function memory() {
  const status = readFileSync('/proc/self/status', 'utf8')
  return Object.fromEntries(['VmRSS', 'VmHWM', 'VmPTE'].map((name) => [name, Number(new RegExp(`${name}:\\s+(\\d+)`).exec(status)[1]) * 1024]))
}

if (process.argv[1] === FILE) {
  globalThis.held = buildHeap(Number(process.argv[2]))
  const { heapUsed, rss } = process.memoryUsage()
  process.on('message', async ({ task, options }) => {
    try {
      process.send({ result: (await tasks[task](options)) ?? null })
    } catch (error) {
      process.send({ error: { code: error.code, message: error.message } })
    }
  })
  process.on('disconnect', () => process.exit(0))
  process.send({ result: { heapUsed, rss, node: process.version } })
}
