// A small load generator: keep-alive connections to loopback, each sending one request after another,
// `wait` ms after the answer (default: at once, which takes all the CPU there is).

import { Agent, get } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'

export class Load {
  #agent
  #stopped = false
  #milliseconds = []
  #since = performance.now()
  #running

  constructor({ port, path = '/', connections = 8, wait = 0 }) {
    this.#agent = new Agent({ keepAlive: true, maxSockets: connections })
    const options = { host: '127.0.0.1', port, path, agent: this.#agent }
    this.#running = Promise.all(Array.from({ length: connections }, () => this.#client(options, wait)))
    // Told to whoever awaits stop().
    this.#running.catch(() => {})
  }

  async #client(options, wait) {
    while (!this.#stopped) {
      const start = performance.now()
      await request(options)
      this.#milliseconds.push(performance.now() - start)
      if (wait) await sleep(wait)
    }
  }

  // What was measured since the last call.
  lap() {
    const sorted = Float64Array.from(this.#milliseconds).sort()
    const now = performance.now()
    const at = (share) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? NaN
    const seconds = (now - this.#since) / 1000
    const lap = { requests: sorted.length, seconds, perSecond: sorted.length / seconds, p50: at(0.5), p99: at(0.99), max: at(1) }
    this.#milliseconds = []
    this.#since = now
    return lap
  }

  async stop() {
    this.#stopped = true
    await this.#running.finally(() => this.#agent.destroy())
  }
}

function request(options) {
  return new Promise((resolve, reject) => {
    get(options, (response) => {
      if (response.statusCode !== 200) reject(new Error(`${options.path} answered ${response.statusCode}`))
      response.resume().once('end', resolve).once('error', reject)
    }).once('error', reject)
  })
}
