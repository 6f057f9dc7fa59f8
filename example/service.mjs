// example/server.js as a child process, and its admin route as functions: for the demo, the tests
// and the benches.

import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { request } from 'node:http'
import { createInterface } from 'node:readline'
import { json } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import { setTimeout as sleep } from 'node:timers/promises'

const SERVER = fileURLToPath(new URL('./server.js', import.meta.url))

export class Service {
  #child
  #token

  // Starts the service on free ports and waits until it answers. `env` is added to ours.
  static async start(env = {}, { node = process.execPath, args = [], onSpawn } = {}) {
    const token = randomBytes(16).toString('hex')
    const heap = Number(env.HEAP_MB || 64)
    const child = spawn(node, [`--max-old-space-size=${Math.ceil(heap * 1.5 + 512)}`, ...args, SERVER], {
      env: { ...process.env, PORT: '0', ADMIN_PORT: '0', STILLCORE_ADMIN_TOKEN: token, ...strings(env) },
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    // Whatever becomes of us, the service does not stay behind.
    const kill = () => child.kill('SIGKILL')
    process.once('exit', kill)
    child.once('exit', () => process.off('exit', kill))
    onSpawn?.(child.pid)
    const ended = once(child, 'exit').then(([code, signal]) => {
      throw new Error(`example/server.js ended before it was ready: ${signal ?? `exit code ${code}`}`)
    })
    const line = await Promise.race([once(createInterface(child.stdout), 'line'), ended])
    ended.catch(() => {})
    return new Service(child, token, JSON.parse(line))
  }

  constructor(child, token, told) {
    this.#child = child
    this.#token = token
    Object.assign(this, told)
  }

  // One request to the admin server; gives the response.
  async admin(method, path) {
    const sent = request({ host: '127.0.0.1', port: this.adminPort, method, path, headers: { Authorization: `Bearer ${this.#token}` } }).end()
    const [response] = await once(sent, 'response')
    if (response.statusCode === 204) response.resume()
    return response
  }

  async json(method, path) {
    return json(await this.admin(method, path))
  }

  // Takes a core and waits until it is done or failed.
  async capture() {
    const started = await this.admin('POST', '/core')
    if (started.statusCode !== 202) throw new Error(`POST /core answered ${started.statusCode}: ${JSON.stringify(await json(started))}`)
    let capture = await json(started)
    while (capture.state === 'running') {
      await sleep(20)
      capture = await this.json('GET', started.headers.location)
    }
    return capture
  }

  async download(capture) {
    const response = await this.admin('GET', capture.archive)
    if (response.statusCode !== 200) throw new Error(`GET ${capture.archive} answered ${response.statusCode}`)
    return response
  }

  async stop() {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return
    const exit = once(this.#child, 'exit')
    this.#child.kill('SIGTERM')
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), 10_000)
    await exit
    clearTimeout(timer)
  }
}

const strings = (env) => Object.fromEntries(Object.entries(env).map(([name, value]) => [name, String(value)]))
