// The direct way: from the call to the archive, beside gcore + tar czf and beside compressing alone; how long the copy
// lives; the pause with many threads.

import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, existsSync, openSync, readFileSync, statSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

import { mb, median, medians, ms, times } from '../measure.mjs'
import { gcore, mappedElfFiles, tarGz, withoutGcore } from '../peers.mjs'
import { Subject } from '../subject.mjs'

const root = fileURLToPath(new URL('../..', import.meta.url))

const WAYS = {
  'gzip, direct': { method: 'direct' },
  'gzip, kernel': { method: 'kernel' },
  'zstd, direct': { method: 'direct', compression: 'zstd' },
}

export async function direct({ quick, directory, log }) {
  return [...(await archives({ quick, directory, log })), ...(await threads({ quick, directory, log }))]
}

async function archives({ quick, directory, log }) {
  const megabytes = quick ? 100 : 1024
  log(`${megabytes} MB of heap`)
  const subject = await Subject.start(megabytes, { directory })
  try {
    const why = withoutGcore()
    const ours = Object.fromEntries(Object.keys(WAYS).map((name) => [name, []]))
    const theirs = []
    for (let n = 0; n < (quick ? 1 : 3); n++) {
      for (const [name, options] of Object.entries(WAYS)) ours[name].push(await watched(subject, options))
      if (!why) theirs.push(await gcoreAndTar(subject.pid, directory))
    }
    const their = why ? undefined : median(theirs)
    const goals = { 'gzip, direct': 10, 'zstd, direct': 13 }
    const rows = Object.entries(ours).flatMap(([name, runs]) => {
      const one = medians(runs)
      const goal = goals[name]
      return [
        {
          what: `${megabytes} MB: collectCore, ${name}`, measured: ms(one.ms), data: { runs, theirs },
          ...(why ? {} : { beside: `${ms(their)} gcore + tar czf`, ratio: times(their / one.ms) }),
          ...(goal && !why ? { goal: `>= ${goal} x`, met: their >= goal * one.ms } : {}),
        },
        { what: `  copy lives / extra RSS / archive`, measured: `${ms(one.copyMs)} / ${mb(one.peak - one.rssBefore)} / ${mb(one.bytes)}` },
      ]
    })
    return [...rows, ...(await compressors(subject, directory, median(ours['gzip, direct'].map((run) => run.ms))))]
  } finally {
    await subject.stop()
  }
}

/** collectCore, and how long a child of the process was there meanwhile. */
async function watched(subject, options) {
  const children = `/proc/${subject.pid}/task/${subject.pid}/children`
  let first
  let last
  const look = setInterval(() => {
    if (!readFileSync(children, 'utf8').trim()) return
    first ??= performance.now()
    last = performance.now()
  }, 2)
  try {
    const run = await subject.run('collectCore', options)
    return { ...run, copyMs: last - first }
  } finally {
    clearInterval(look)
  }
}

async function gcoreAndTar(pid, directory) {
  const archive = join(directory, 'gcore.tar.gz')
  const start = performance.now()
  const core = await gcore(pid, join(directory, 'gcore'))
  await tarGz(archive, [core, ...mappedElfFiles(pid)])
  const all = performance.now() - start
  await Promise.all([rm(core), rm(archive)])
  return all
}

/** What good programs take to compress the same bytes, from the page cache, with two threads. */
async function compressors(subject, directory, our) {
  const plain = await subject.run('collectCore', { method: 'direct', compression: 'none', keep: true })
  const packed = join(directory, 'packed.gz')
  const rows = []
  try {
    for (const { name, command, args, why } of [igzip(plain.file), zlibNg(plain.file)]) {
      const what = `the same bytes by ${name}, 2 threads`
      if (why) {
        rows.push({ what, skipped: why })
        continue
      }
      const runs = []
      for (let n = 0; n < 3; n++) {
        const out = openSync(packed, 'w')
        const start = performance.now()
        const child = spawn(command, args, { stdio: ['ignore', out, 'inherit'] })
        const [code] = await once(child, 'exit')
        closeSync(out)
        if (code !== 0) throw new Error(`${name} ended with ${code}`)
        runs.push(performance.now() - start)
      }
      const their = median(runs)
      rows.push({ what, measured: ms(their), beside: `${ms(our)} collectCore, gzip, direct`, ratio: times(our / their), goal: '<= 1.3 x of one', met: our <= 1.3 * their, data: runs })
      rows.push({ what: '  archive', measured: mb(statSync(packed).size) })
    }
    return rows
  } finally {
    await Promise.all([plain.file, packed].map((file) => rm(file, { force: true })))
  }
}

function igzip(file) {
  const missing = spawnSync('igzip', ['--version']).error
  return { name: 'igzip -1', command: 'igzip', args: ['-1', '-T', '2', '-c', file], why: missing && 'igzip is not installed (Debian: isal)' }
}

// zlib-ng has no program of its own; its binding for Python compresses in threads without Python's lock.
function zlibNg(file) {
  const name = 'zlib-ng -1'
  const venv = join(root, '.cache', 'bench-python')
  const python = join(venv, 'bin', 'python3')
  if (!existsSync(python)) {
    const made = spawnSync('python3', ['-m', 'venv', venv])
    if (made.status !== 0) return { name, why: 'python3 -m venv does not work here' }
  }
  if (spawnSync(python, ['-c', 'import zlib_ng']).status !== 0) {
    spawnSync(python, ['-m', 'pip', 'install', '--quiet', 'zlib-ng'])
    if (spawnSync(python, ['-c', 'import zlib_ng']).status !== 0) return { name, why: 'the package zlib-ng could not be had from PyPI' }
  }
  const program = `import shutil, sys
from zlib_ng import gzip_ng_threaded as gzip
with open(sys.argv[1], 'rb') as plain, gzip.open(sys.stdout.buffer, 'wb', compresslevel=1, threads=2) as packed:
    shutil.copyfileobj(plain, packed, 1 << 20)`
  return { name, command: python, args: ['-c', program, file] }
}

async function threads({ quick, directory, log }) {
  const rows = []
  for (const [megabytes, count, busy, extra] of [[100, 10, 0, 1], [100, 40, 10, 5], ...(quick ? [] : [[1024, 10, 0, 1], [1024, 40, 10, 5]])]) {
    log(`${megabytes} MB of heap, ${count} threads more, ${busy} of them busy`)
    const subject = await Subject.start(megabytes, { directory })
    try {
      await subject.run('threads', { count, busy })
      const bare = []
      const ours = []
      for (let n = 0; n < (quick ? 2 : megabytes > 500 ? 3 : 9); n++) {
        bare.push(await subject.run('bare'))
        ours.push(await subject.run('createCore', { method: 'direct' }))
      }
      for (const [what, figure] of [['createCore call', 'callMs'], ['loop gap at the call', 'gapMs']]) {
        const [our, their] = [medians(ours)[figure], medians(bare)[figure]]
        rows.push({
          what: `${megabytes} MB, ${count} threads more, ${busy} busy: ${what}`, measured: ms(our), beside: `${ms(their)} bare fork`, ratio: times(our / their),
          goal: `<= 1.2 x + ${extra} ms`, met: our <= their * 1.2 + extra, data: { bare, ours },
        })
      }
    } finally {
      await subject.stop()
    }
  }
  return rows
}
