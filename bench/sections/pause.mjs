// How long the event loop stands still: createCore, the bare fork of the same process, and gcore.

import { rm } from 'node:fs/promises'
import { join } from 'node:path'

import { median, medians, ms, times } from '../measure.mjs'
import { gcore, withoutGcore } from '../peers.mjs'
import { Subject } from '../subject.mjs'

export async function pause({ quick, directory, log }) {
  const rows = []
  for (const [megabytes, pairs, gcores] of quick ? [[100, 2, 1]] : [[100, 9, 3], [1024, 7, 3], [4096, 5, 1]]) {
    log(`${megabytes} MB of heap`)
    const subject = await Subject.start(megabytes, { directory })
    try {
      rows.push(...(await measure(subject, { megabytes, pairs, gcores, directory })))
    } finally {
      await subject.stop()
    }
  }
  return rows
}

async function measure(subject, { megabytes, pairs, gcores, directory }) {
  // The first fork of a process is dearer than those that follow, and most users only ever see it.
  const first = await subject.run('createCore')
  const bare = []
  const ours = []
  for (let n = 0; n < pairs; n++) {
    // Who comes first takes turns.
    for (const task of n % 2 ? ['createCore', 'bare'] : ['bare', 'createCore']) (task === 'bare' ? bare : ours).push(await subject.run(task))
  }
  const our = medians(ours)
  const their = medians(bare)
  const heap = `${megabytes} MB`
  const data = { megabytes, about: subject.about, first, createCore: ours, bare }
  const rows = [
    {
      what: `${heap}: createCore call`, measured: ms(our.callMs), beside: `${ms(their.callMs)} bare fork`, ratio: times(our.callMs / their.callMs),
      goal: '<= 1.2 x + 1 ms', met: our.callMs <= their.callMs * 1.2 + 1, data,
    },
    {
      what: `${heap}: loop gap at the call`, measured: ms(our.gapMs), beside: `${ms(their.gapMs)} bare fork`, ratio: times(our.gapMs / their.gapMs),
      goal: '<= 1.2 x + 1 ms', met: our.gapMs <= their.gapMs * 1.2 + 1,
    },
    { what: `${heap}: first call of the process`, measured: ms(first.callMs) },
    { what: `${heap}: loop gap, whole capture`, measured: ms(our.longestMs), beside: `capture took ${ms(our.doneMs)}` },
  ]
  const why = withoutGcore()
  if (why) return [...rows, { what: `${heap}: gcore`, skipped: why }]

  const gaps = []
  for (let n = 0; n < gcores; n++) {
    await subject.run('watch')
    const core = await gcore(subject.pid, join(directory, 'gcore'))
    gaps.push((await subject.run('unwatch')).longestMs)
    await rm(core)
  }
  data.gcore = gaps
  const gap = median(gaps)
  return [...rows, {
    what: `${heap}: loop gap of gcore`, measured: ms(gap), beside: `${ms(our.longestMs)} createCore`, ratio: times(gap / our.longestMs),
    goal: '>= 20 x', met: gap >= 20 * our.longestMs,
  }]
}
