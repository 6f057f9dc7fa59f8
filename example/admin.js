'use strict'
// The admin server of the example service: takes a core of this process and hands it out.
// Copy it into your own service; it needs Node and stillcore only.
//
//   POST   /core               start a capture     202, Location: /core/<id>; 409 while one runs
//   GET    /core/<id>          its state           { state: 'running' | 'done' | 'sent' | 'failed', ... }
//   GET    /core/<id>/archive  the .tar.gz         deleted once it was sent whole (?keep: not deleted)
//   DELETE /core/<id>          abort it, or delete it and its archive
//   GET    /stats              what the service says about itself; DELETE begins a new count
//
// A core holds every secret of the process. So: every request carries the token, the server listens
// on loopback unless you say otherwise, and an archive does not stay on the disk after it was fetched.

const { createHash, randomUUID, timingSafeEqual } = require('node:crypto')
const { open, rm } = require('node:fs/promises')
const { createServer } = require('node:http')
const { basename } = require('node:path')
const { pipeline } = require('node:stream/promises')

const { collectCore } = require('..') // in your service: require('stillcore')

// Captures remembered. An archive nobody fetched is never dropped to make room.
const KEPT = 8

// One capture, from POST to DELETE. What JSON.stringify sees is what GET /core/<id> answers.
class Capture {
  id = randomUUID()
  state = 'running'
  startedAt = new Date()
  #abort = new AbortController()
  #file

  constructor(options) {
    // The copy is made before collectCore returns: this is the one moment the service stands still.
    const start = performance.now()
    const promise = collectCore({ ...options, signal: this.#abort.signal })
    this.callMs = performance.now() - start
    this.settled = promise.then((file) => this.#done(file)).catch((error) => this.#failed(error))
    Object.defineProperty(this, 'settled', { enumerable: false })
  }

  get url() {
    return `/core/${this.id}`
  }

  async #done(file) {
    this.#file = file
    const handle = await open(file)
    this.size = (await handle.stat()).size
    await handle.close()
    this.name = basename(file)
    this.archive = `${this.url}/archive`
    this.#end('done')
  }

  #failed(error) {
    this.error = { code: error.code, message: error.message }
    this.#end('failed')
  }

  #end(state) {
    this.state = state
    this.endedAt = new Date()
    this.ms = this.endedAt - this.startedAt
  }

  // Streams the archive. It is deleted when all of it was handed to the network, and stays when the
  // client breaks off, to be fetched again.
  async send(response, keep) {
    const handle = await open(this.#file)
    const { size } = await handle.stat()
    response.writeHead(200, {
      'Content-Type': 'application/gzip',
      'Content-Length': size,
      'Content-Disposition': `attachment; filename="${this.name}"`,
    })
    await pipeline(handle.createReadStream(), response)
    if (keep) return
    await rm(this.#file, { force: true })
    delete this.archive
    this.state = 'sent'
  }

  async remove() {
    this.#abort.abort(new Error(`capture ${this.id} was deleted`))
    await this.settled
    if (this.#file) await rm(this.#file, { force: true })
  }
}

function createAdmin({ token, capture: options = {}, stats }) {
  if (!token) throw new TypeError('the admin server needs a token')
  const digest = (text) => createHash('sha256').update(text).digest()
  const expected = digest(`Bearer ${token}`)
  const captures = new Map()

  // Digests have one length, so the comparison takes the same time whatever was sent.
  const allowed = (request) => timingSafeEqual(digest(request.headers.authorization ?? ''), expected)
  const running = () => [...captures.values()].find((capture) => capture.state === 'running')

  function start(response) {
    const other = running()
    if (other) {
      return answer(response, 409, { error: `a capture is running: ${other.url}`, running: other.url }, { Location: other.url })
    }
    if (captures.size >= KEPT) {
      const spare = [...captures.values()].find((capture) => !capture.archive)
      if (!spare) return answer(response, 409, { error: `${KEPT} archives are waiting: fetch or DELETE one`, waiting: [...captures.values()].map((c) => c.archive) })
      captures.delete(spare.id)
    }
    const capture = new Capture(options)
    captures.set(capture.id, capture)
    answer(response, 202, capture, { Location: capture.url })
  }

  async function handle(request, response) {
    if (!allowed(request)) return answer(response, 401, { error: 'Authorization: Bearer <token> is missing or wrong' }, { 'WWW-Authenticate': 'Bearer' })
    const { pathname, searchParams } = new URL(request.url, 'http://localhost')
    const [, noun, id, part, more] = pathname.split('/')
    const route = `${request.method} /${noun}`

    if (id === undefined) {
      if (route === 'POST /core') return start(response)
      if (route === 'GET /stats' && stats) return answer(response, 200, stats.read())
      if (route === 'DELETE /stats' && stats) return stats.reset(), answer(response, 204)
      const known = noun === 'core' ? 'POST' : noun === 'stats' && stats ? 'GET, DELETE' : null
      return known ? answer(response, 405, { error: `${noun} knows ${known}` }, { Allow: known }) : answer(response, 404, { error: 'no such page' })
    }

    const capture = noun === 'core' ? captures.get(id) : undefined
    if (!capture || more !== undefined || (part !== undefined && part !== 'archive')) return answer(response, 404, { error: 'no such capture' })
    if (part === 'archive') {
      if (request.method !== 'GET') return answer(response, 405, { error: 'archive knows GET' }, { Allow: 'GET' })
      if (!capture.archive) return answer(response, capture.state === 'sent' ? 410 : 409, { error: `no archive here: the capture is ${capture.state}`, capture })
      return capture.send(response, searchParams.has('keep'))
    }
    if (request.method === 'GET') return answer(response, 200, capture)
    if (request.method !== 'DELETE') return answer(response, 405, { error: 'a capture knows GET, DELETE' }, { Allow: 'GET, DELETE' })
    await capture.remove()
    captures.delete(id)
    answer(response, 204)
  }

  const server = createServer((request, response) => {
    handle(request, response).catch((error) => {
      // A client that went away is no error of ours; a stream that broke cannot be answered any more.
      if (response.headersSent) response.destroy()
      else answer(response, 500, { error: error.message, code: error.code })
    })
  })
  // Ends the capture that runs: for the shutdown of the service. Finished archives stay.
  server.abort = () => running()?.remove()
  return server
}

function answer(response, status, body, headers = {}) {
  if (body === undefined) return response.writeHead(status, headers).end()
  response.writeHead(status, { 'Content-Type': 'application/json', ...headers }).end(`${JSON.stringify(body)}\n`)
}

module.exports = { createAdmin }
