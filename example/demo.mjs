// npm run demo: takes a whole core of a running service under load, through its admin route, and
// looks into it. See server.js for the service and admin.js for the route.
//
// DEMO_HEAP_MB (300) is how much heap the service builds. Exit code 0 only if every marker was found.

import { createReadStream, createWriteStream } from 'node:fs'
import { mkdtemp, mkdir } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { randomBytes } from 'node:crypto'
import { pipeline } from 'node:stream/promises'
import { setTimeout as sleep } from 'node:timers/promises'

import { Load } from './load.mjs'
import { findMarkers } from './search.mjs'
import { Service } from './service.mjs'
import { entries } from './tar.mjs'

const HEAP_MB = Number(process.env.DEMO_HEAP_MB || 300)
const SECONDS_BEFORE = 2

// What the message of the error cannot know: what to do about it where this demo runs.
const HINTS = {
  ERR_CORE_PATTERN: 'This host gives every core to a handler. Where you may: sudo sysctl kernel.core_pattern=core',
  ERR_CORE_LIMIT: 'Run it again with `ulimit -Hc unlimited`, or where the hard limit of core files is not 0.',
  ERR_CORE_MEMORY: 'Run it again with a smaller heap: DEMO_HEAP_MB=50 npm run demo',
  ENOSPC: 'Set TMPDIR to a folder with a few GB of room, or run it with a smaller heap: DEMO_HEAP_MB=50 npm run demo',
}

const ms = (number) => `${number.toFixed(1)} ms`
const size = (bytes) => (bytes < 1e6 ? `${(bytes / 1e3).toFixed(1)} kB` : `${(bytes / 1e6).toFixed(1)} MB`)

async function main() {
  const folder = await mkdtemp(join(tmpdir(), 'stillcore-demo-'))
  const seed = randomBytes(8).toString('hex')
  const directory = join(folder, 'service')
  await mkdir(directory, { mode: 0o700 })

  console.log(`Starting example/server.js with ${HEAP_MB} MB of heap ...`)
  const service = await Service.start({ HEAP_MB, STILLCORE_DIRECTORY: directory, STILLCORE_MARKER_SEED: seed })
  for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => process.exit(1))
  let load
  try {
    // A busy service, but not one that has no CPU left for anything else.
    load = new Load({ port: service.port, wait: 2 })
    await sleep(500)
    const before = await window(service, load, () => sleep(SECONDS_BEFORE * 1000))
    console.log('Taking a core while it serves ...')
    const during = await window(service, load, () => service.capture())
    const capture = during.result
    if (capture.state !== 'done') return explain(capture.error)
    await load.stop()

    const archive = join(folder, capture.name)
    await pipeline(await service.download(capture), createWriteStream(archive, { mode: 0o600, flags: 'wx' }))
    console.log('Looking into the archive ...\n')
    const content = await read(archive, service.markers, seed)
    report({ before, during, capture, content, archive })
    return Object.values(content.markers).every(({ found, total }) => total > 0 && found === total) ? 0 : 1
  } finally {
    await load?.stop().catch(() => {})
    await service.stop()
  }
}

// Runs `work` and tells what the service and its clients saw meanwhile.
async function window(service, load, work) {
  await service.admin('DELETE', '/stats')
  load.lap()
  const result = await work()
  const lap = load.lap()
  const { longestPauseMs } = await service.json('GET', '/stats')
  return { result, longestPauseMs, ...lap }
}

async function read(archive, names, seed) {
  const list = []
  let markers = Object.fromEntries(Object.entries(names).map(([kind, total]) => [kind, { found: 0, total }]))
  for await (const entry of entries(createReadStream(archive))) {
    list.push({ name: entry.name, size: entry.size })
    if (/^[^/]+\/core[^/]*$/.test(entry.name)) markers = await findMarkers(entry.body, names, seed)
  }
  return { list: list.filter(({ name }) => !name.endsWith('/')), markers }
}

function report({ before, during, capture, content, archive }) {
  const found = Object.entries(content.markers)
  console.log(`The event loop stood still for ${ms(during.longestPauseMs)} at most while the core was taken (${ms(before.longestPauseMs)} in ${SECONDS_BEFORE} s of the same load before).`)
  console.log(`collectCore() came back after ${ms(capture.callMs)}; the archive was ready after ${(capture.ms / 1000).toFixed(1)} s.`)
  console.log(`Meanwhile the service answered ${during.requests} requests: ${during.perSecond.toFixed(0)} per second, p99 ${ms(during.p99)} (before: ${before.perSecond.toFixed(0)}, p99 ${ms(before.p99)}).`)
  console.log(`\n${capture.name}, ${size(capture.size)}, ${content.list.length} files:`)
  for (const { name, size: bytes } of content.list) console.log(`  ${size(bytes).padStart(10)}  ${name}`)
  console.log('\nStrings of the JavaScript heap in the core:')
  for (const [kind, { found: n, total }] of found) console.log(`  ${kind.padEnd(8)} ${n}/${total} found`)
  console.log(`\nThe archive is yours now: ${archive}\nIt holds everything that was in the memory of the service. Delete it when you are done.`)
}

function explain(error) {
  console.error(`\nNo core was taken: ${error.code}: ${error.message}`)
  if (HINTS[error.code]) console.error(HINTS[error.code])
  return 1
}

process.exitCode = await main().catch((error) => {
  console.error(error.message)
  return 1
})
