'use strict'

const diagnostics = require('node:diagnostics_channel')
const { resolve } = require('node:path')
const { AsyncResource } = require('node:async_hooks')
const { Socket } = require('node:net')
const { Readable } = require('node:stream')
const { isMainThread } = require('node:worker_threads')
const { debuglog } = require('node:util')

const debug = debuglog('stillcore')
const channels = {
  start: diagnostics.channel('stillcore:capture:start'),
  end: diagnostics.channel('stillcore:capture:end'),
  error: diagnostics.channel('stillcore:capture:error'),
}

const MINUTES = 60_000
const LIMITS = { timeout: 10 * MINUTES, stallTimeout: 1 * MINUTES }
const METHODS = ['auto', 'kernel', 'direct']
const LEVELS = { gzip: [1, 9], zstd: [1, 4], none: [0, 0] }

// --- the binary ----------------------------------------------------------------------------------

// The module loads everywhere, so that one code base runs everywhere; it is the calls that fail.
const loaded = find()

if (loaded.native) {
  loaded.owner = loaded.native.register()
  // A pool thread that waits for a copy would make process.exit() wait with it, and an end without
  // this would leave its folder to the next capture.
  if (isMainThread) process.once('exit', () => loaded.native.endAll(2000))
}

function load() {
  if (loaded.error) throw loaded.error
  return loaded
}

function find() {
  const platform = `${process.platform}-${process.arch}`
  if (process.platform !== 'linux') {
    return { error: unsupported(`${platform}: cores of a live process can be taken on Linux only`) }
  }
  const tried = []
  for (const triple of [`${platform}-gnu`, `${platform}-musl`]) {
    for (const name of [`./stillcore.${triple}.node`, `stillcore-${triple}`]) {
      try {
        return { native: require(name) }
      } catch (error) {
        // "Cannot find module" comes with a stack of requires; its first line says it all.
        tried.push(`${name}: ${error.message.split('\n')[0]}`)
      }
    }
  }
  return {
    error: unsupported(
      `${platform} here: no binary loads. Install the package stillcore-${platform}-gnu (an optional ` +
        `dependency: was npm told to omit those?), or build it in a clone with Rust: npm install. ` +
        `Tried ${tried.join('; ')}`,
    ),
  }
}

function unsupported(what) {
  return Object.assign(new Error(`stillcore does not support ${what}`), { code: 'ERR_UNSUPPORTED_PLATFORM' })
}

// --- arguments -----------------------------------------------------------------------------------

function invalid(kind, name, expected, value) {
  const shown = typeof value === 'string' ? `'${value}'` : typeof value === 'object' && value ? 'an object' : String(value)
  const message = `The "${name}" argument must be ${expected}. Received ${shown}`
  return Object.assign(new TypeError(message), { code: `ERR_INVALID_ARG_${kind}` })
}

function checkOptions(options) {
  if (options === undefined) options = {}
  if (options === null || typeof options !== 'object' || Array.isArray(options)) {
    throw invalid('TYPE', 'options', 'an object', options)
  }
  const { directory, signal } = options
  if (directory !== undefined) {
    if (typeof directory !== 'string') throw invalid('TYPE', 'options.directory', 'a string', directory)
    if (directory === '' || directory.includes('\0')) {
      throw invalid('VALUE', 'options.directory', 'a path: not empty, and without null bytes', directory)
    }
  }
  if (signal !== undefined) {
    if (signal === null || typeof signal !== 'object' || typeof signal.aborted !== 'boolean') {
      throw invalid('TYPE', 'options.signal', 'an AbortSignal', signal)
    }
  }
  const checked = { directory, signal }
  for (const name of Object.keys(LIMITS)) {
    const value = options[name] ?? LIMITS[name]
    if (typeof value !== 'number') throw invalid('TYPE', `options.${name}`, 'a number of milliseconds', value)
    if (!(value > 0)) throw invalid('VALUE', `options.${name}`, 'more than 0 milliseconds', value)
    checked[name] = value
  }
  checked.what = oneOf(options, 'what', ['core', 'archive'], 'archive')
  checked.method = oneOf({ method: options.method ?? (process.env.STILLCORE_METHOD || undefined) }, 'method', METHODS, 'auto')
  checked.threads = oneOf(options, 'threads', ['all', 'calling'], 'all')
  checked.compression = oneOf(options, 'compression', Object.keys(LEVELS), 'gzip')
  const [least, most] = LEVELS[checked.compression]
  checked.level = integer(options, 'level', least, most, least)
  checked.compressionThreads = integer(options, 'compressionThreads', 1, 256, 0)
  checked.maxSize = integer(options, 'maxSize', 1, Number.MAX_SAFE_INTEGER, 0)
  const { include = {}, onProgress } = options
  if (include === null || typeof include !== 'object') throw invalid('TYPE', 'options.include', 'an object', include)
  checked.include = { files: boolean(include, 'files'), dontDump: boolean(include, 'dontDump') }
  // What the kernel cannot do: it writes everything, but for what is marked MADV_DONTDUMP.
  const beyond = checked.maxSize > 0 ? 'maxSize' : checked.include.dontDump ? 'include.dontDump' : undefined
  if (beyond !== undefined && checked.method === 'kernel') {
    throw invalid('VALUE', `options.${beyond}`, "left out with method 'kernel': the kernel writes all, but for MADV_DONTDUMP memory", checked.maxSize || true)
  }
  if (beyond !== undefined) checked.method = 'direct'
  if (onProgress !== undefined && typeof onProgress !== 'function') {
    throw invalid('TYPE', 'options.onProgress', 'a function', onProgress)
  }
  checked.onProgress = onProgress
  return checked
}

function oneOf(options, name, values, otherwise) {
  const value = options[name]
  if (value === undefined) return otherwise
  if (typeof value !== 'string') throw invalid('TYPE', `options.${name}`, 'a string', value)
  if (!values.includes(value)) throw invalid('VALUE', `options.${name}`, `one of: ${values.join(', ')}`, value)
  return value
}

function integer(options, name, least, most, otherwise) {
  const value = options[name]
  if (value === undefined) return otherwise
  if (typeof value !== 'number') throw invalid('TYPE', `options.${name}`, 'a number', value)
  if (!Number.isInteger(value) || value < least || value > most) {
    throw invalid('VALUE', `options.${name}`, `a whole number from ${least} to ${most}`, value)
  }
  return value
}

function boolean(include, name) {
  const value = include[name] ?? false
  if (typeof value !== 'boolean') throw invalid('TYPE', `options.include.${name}`, 'a boolean', value)
  return value
}

function directoryOf({ directory }) {
  return resolve(directory || process.env.STILLCORE_DIRECTORY || process.report?.directory || process.cwd())
}

// --- errors --------------------------------------------------------------------------------------

function errorOf({ code, message, errno, syscall, path }, signal) {
  if (code === 'ABORT_ERR') return abortError(signal)
  const error = new Error(message)
  // In the order in which Node's own errors have them.
  if (errno !== undefined) error.errno = errno
  error.code = code
  if (syscall !== undefined) error.syscall = syscall
  if (path !== undefined) error.path = path
  return error
}

function abortError(signal) {
  const error = new Error('The operation was aborted', { cause: signal?.reason })
  error.name = 'AbortError'
  error.code = 'ABORT_ERR'
  return error
}

function refusal(directory) {
  if (process.env.STILLCORE_DISABLE === '1') {
    return Object.assign(
      new Error('Captures are switched off in this process: STILLCORE_DISABLE=1 is set in its environment'),
      { code: 'ERR_CORE_DISABLED' },
    )
  }
  if (directory && process.permission && !process.permission.has('fs.write', directory)) {
    const message =
      `Access to this API has been restricted: Node's permission model allows no writing in '${directory}'. ` +
      `Start node with --allow-fs-write=${directory}, or name another directory`
    return Object.assign(new Error(message), {
      code: 'ERR_ACCESS_DENIED',
      permission: 'FileSystemWrite',
      resource: directory,
    })
  }
}

// --- captures ------------------------------------------------------------------------------------

/**
 * Begins a capture; the fork has happened when this returns. `done(error, capture)` comes later, once.
 * With `streaming` the archive goes through a pipe: gives the descriptor of its reading end.
 */
function begin(options, done, streaming = false) {
  const { signal, what } = options
  const started = performance.now()
  const event = { what, directory: undefined, pid: process.pid }
  const finished = (error, capture) => {
    if (error) {
      debug('%s failed: %s', what, error.message)
      channels.error.publish({ ...event, error })
      done(error)
    } else {
      debug('%s done: %s', what, capture.path ?? 'streamed')
      channels.end.publish({ ...event, path: capture.path, capture })
      done(null, capture)
    }
  }
  if (signal?.aborted) {
    process.nextTick(done, abortError(signal))
    return {}
  }

  const attempt = { id: 0 }
  const onAbort = () => loaded.native.abort(attempt.id)
  const start = (method, insteadOf) => {
    const { native, owner } = load()
    const answer = native.begin(
      {
        directory: streaming ? undefined : event.directory,
        archive: what === 'archive',
        timeout: options.timeout,
        stallTimeout: options.stallTimeout,
        owner,
        onPool: isMainThread && !hasOnePoolThread(),
        method,
        insteadOf,
        allThreads: options.threads === 'all',
        compression: options.compression,
        level: options.level,
        compressionThreads: options.compressionThreads,
        files: options.include.files,
        dontDump: options.include.dontDump,
        maxSize: options.maxSize,
        node: process.versions.node,
        v8: process.versions.v8,
        arch: process.arch,
      },
      (outcome) => {
        for (const { name, at } of outcome.steps) debug('%s #%d: %s after %s ms', what, answer.id, name, at.toFixed(1))
        // Out of the native callback: what `done` throws is then an uncaught exception like any other.
        process.nextTick(ended, outcome, answer, insteadOf)
      },
      options.onProgress && ((progress) => process.nextTick(options.onProgress, progress)),
    )
    if (answer.failure) throw errorOf(answer.failure, signal)
    attempt.id = answer.id
    debug('%s #%d begun %s, the forks took %s ms', what, answer.id, answer.method, answer.pause.toFixed(1))
    return answer
  }
  const ended = ({ failure, made }, answer, insteadOf) => {
    const hope = failure && options.method === 'auto' && answer.method === 'kernel' && !signal?.aborted
    if (hope && loaded.native.isKernelsOwn(failure.code)) {
      debug('%s #%d yielded nothing, once more directly: %s', what, answer.id, failure.message)
      try {
        start('direct', failure)
        return
      } catch (error) {
        signal?.removeEventListener('abort', onAbort)
        return finished(error)
      }
    }
    signal?.removeEventListener('abort', onAbort)
    if (failure) return finished(signal?.aborted ? abortError(signal) : errorOf(failure, signal))
    const capture = {
      path: streaming ? undefined : made.path,
      method: answer.method,
      pauseMs: answer.pause,
      totalMs: performance.now() - started,
      bytes: made.bytes,
      threads: { captured: made.threads, total: made.allThreads },
      skipped: made.skipped,
      notes: made.notes,
    }
    if (insteadOf) capture.fallback = insteadOf.code
    finished(null, capture)
  }

  try {
    load()
    if (!streaming) event.directory = directoryOf(options)
    const refused = refusal(event.directory)
    if (refused) throw refused
    channels.start.publish(event)
    const answer = start(options.method)
    signal?.addEventListener('abort', onAbort, { once: true })
    return { fd: answer.fd, abort: onAbort }
  } catch (error) {
    process.nextTick(finished, error)
    return {}
  }
}

// Of one thread none may be kept: DNS and files would wait for the capture. libuv takes what is no number for 1.
function hasOnePoolThread() {
  const size = process.env.UV_THREADPOOL_SIZE
  return size !== undefined && !(Number.parseInt(size, 10) > 1)
}

function api(what) {
  return function (options, callback) {
    if (typeof options === 'function') [options, callback] = [undefined, options]
    if (callback === undefined) {
      return new Promise((fulfil, reject) => {
        begin({ ...checkOptions(options), what }, (error, capture) => (error ? reject(error) : fulfil(capture.path)))
      })
    }
    if (typeof callback !== 'function') throw invalid('TYPE', 'callback', 'a function', callback)
    const told = AsyncResource.bind(callback, 'STILLCORE')
    begin({ ...checkOptions(options), what }, (error, capture) => (error ? told(error) : told(null, capture.path)))
  }
}

// --- doctor --------------------------------------------------------------------------------------

async function doctor(options) {
  const directory = directoryOf(checkOptions(options))
  if (loaded.error) return reportWithoutBinary(directory)
  return completed(JSON.parse(await loaded.native.doctor(directory)))
}

/** The same at once, for doctor.js, which reports before there is an event loop. */
function doctorNow() {
  const directory = directoryOf({})
  return loaded.error ? reportWithoutBinary(directory) : completed(JSON.parse(loaded.native.doctorNow(directory)))
}
Object.defineProperty(doctor, 'now', { value: doctorNow })

/** Adds what only JavaScript knows of this process. */
function completed(found) {
  const report = { ...emptyReport(), ...found }
  const { sigsegv, ways } = report
  if (sigsegv && process.listenerCount('SIGSEGV') > 0) sigsegv.by = "process.on('SIGSEGV')"
  else if (sigsegv?.by === process.execPath) sigsegv.by = 'node'
  const refused = refusal(report.directory.path)
  if (refused) {
    report.ok = false
    const change =
      refused.code === 'ERR_CORE_DISABLED'
        ? 'Start it without STILLCORE_DISABLE.'
        : `Start node with --allow-fs-write=${refused.resource}, or name another directory.`
    for (const way of Object.values(ways)) {
      way.works = false
      way.why = [`${refused.message.split('. ')[0]}.`, way.why].filter(Boolean).join(' ')
      way.change = [change, way.change].filter(Boolean).join(' ')
    }
  }
  return report
}

function reportWithoutBinary(directory) {
  const report = emptyReport()
  report.directory.path = directory
  for (const way of Object.values(report.ways)) {
    way.why = loaded.error.message
    way.change = 'Run it on Linux with glibc 2.28 or newer, on x86_64, with a Node that may load addons.'
  }
  return report
}

/** All fields of a report, in their order. */
function emptyReport() {
  return {
    ok: false,
    platform: `${process.platform}-${process.arch}`,
    node: process.version,
    libc: null,
    corePattern: null,
    limits: { core: null, fileSize: null },
    yama: null,
    seccomp: null,
    capabilities: null,
    noNewPrivs: null,
    dumpable: null,
    sigsegv: null,
    dontFork: null,
    threads: null,
    directory: { path: null, writable: null, freeBytes: null, fileSystem: null },
    memory: { rss: process.memoryUsage.rss(), cgroup: null, overcommit: { mode: null, free: null } },
    container: { pidNamespace: null, userNamespace: null, mountNamespace: null, cgroup: null },
    estimates: null,
    ways: { kernel: { works: false }, direct: { works: false } },
    warnings: [],
  }
}

const createCore = api('core')
const collectCore = api('archive')

function capture(options) {
  return new Promise((fulfil, reject) => {
    begin(checkOptions(options), (error, capture) => (error ? reject(error) : fulfil(capture)))
  })
}

function streamCore(options) {
  const checked = { ...checkOptions(options), what: 'archive' }
  if (checked.method === 'kernel' && options?.method === 'kernel') {
    throw invalid('VALUE', 'options.method', "'auto' or 'direct': the kernel writes to disk, and a stream does not", 'kernel')
  }
  checked.method = 'direct'
  let socket
  let running = {}
  const stream = new Readable({
    highWaterMark: 1 << 20,
    read: () => socket?.resume(),
    destroy(error, callback) {
      running.abort?.()
      socket?.destroy()
      callback(error)
    },
  })
  running = begin(
    checked,
    (error, capture) => {
      running = {}
      if (error) return stream.destroy(error)
      // All is written, but perhaps not all is read yet.
      const end = () => {
        stream.emit('capture', capture)
        stream.push(null)
      }
      if (socket.readableEnded) end()
      else socket.once('end', end)
    },
    true,
  )
  if (running.fd !== undefined) {
    socket = new Socket({ fd: running.fd, readable: true, writable: false })
    socket.on('data', (chunk) => stream.push(chunk) || socket.pause())
    socket.on('error', (error) => stream.destroy(error))
    socket.pause()
  }
  return stream
}

module.exports = { capture, collectCore, createCore, doctor, streamCore }
