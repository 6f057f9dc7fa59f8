// The direct way: from the call to the archive, beside gcore + tar czf and beside compressing alone; how long the copy
// lives; the pause with many threads.

import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readFileSync, openSync, closeSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'

import { mb, median, medians, ms, times } from '../measure.mjs'
import { gcore, mappedElfFiles, tarGz, withoutGcore } from '../peers.mjs'
import { Subject } from '../subject.mjs'

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
    return [...rows, await beside(subject, directory, median(ours['gzip, direct'].map((run) => run.ms)))]
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

/** What igzip takes to compress the same bytes, from the page cache. */
async function beside(subject, directory, our) {
  const what = 'the same bytes by igzip -1, 2 threads'
  if (spawnSync('igzip', ['--version']).error) return { what, skipped: 'igzip is not installed (Debian: isal)' }
  const plain = await subject.run('collectCore', { method: 'direct', compression: 'none', keep: true })
  const out = openSync(join(directory, 'igzip.gz'), 'w')
  try {
    const runs = []
    for (let n = 0; n < 3; n++) {
      const start = performance.now()
      const child = spawn('igzip', ['-1', '-T', '2', '-c', plain.file], { stdio: ['ignore', out, 'inherit'] })
      await once(child, 'exit')
      runs.push(performance.now() - start)
    }
    const their = median(runs)
    return { what, measured: ms(their), beside: `${ms(our)} collectCore, gzip, direct`, ratio: times(our / their), goal: '<= 1.3 x', met: our <= 1.3 * their, data: runs }
  } finally {
    closeSync(out)
    await rm(plain.file)
    if (existsSync(join(directory, 'igzip.gz'))) await rm(join(directory, 'igzip.gz'))
  }
}

async function threads({ quick, directory, log }) {
  const rows = []
  for (const [count, busy, extra] of [[10, 0, 1], [40, 10, 5]]) {
    log(`${count} threads, ${busy} of them busy`)
    const subject = await Subject.start(100, { directory })
    try {
      await subject.run('threads', { count, busy })
      const bare = []
      const ours = []
      for (let n = 0; n < (quick ? 2 : 9); n++) {
        bare.push(await subject.run('bare'))
        ours.push(await subject.run('createCore', { method: 'direct' }))
      }
      const [our, their] = [medians(ours).callMs, medians(bare).callMs]
      rows.push({
        what: `${count} threads more, ${busy} busy: createCore call`, measured: ms(our), beside: `${ms(their)} bare fork`, ratio: times(our / their),
        goal: `<= 1.2 x + ${extra} ms`, met: our <= their * 1.2 + extra, data: { bare, ours },
      })
    } finally {
      await subject.stop()
    }
  }
  return rows
}
