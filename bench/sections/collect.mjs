// From the call to the finished archive: collectCore, and gcore + tar czf of its core and the same
// ELF files.

import { rm, stat } from 'node:fs/promises'
import { join } from 'node:path'

import { median, ms, times } from '../measure.mjs'
import { gcore, mappedElfFiles, tarGz, withoutGcore } from '../peers.mjs'
import { Subject } from '../subject.mjs'

export async function collect({ quick, directory, log }) {
  const megabytes = quick ? 100 : 1024
  const why = withoutGcore()
  log(`${megabytes} MB of heap`)
  const subject = await Subject.start(megabytes, { directory })
  try {
    const ours = []
    const theirs = []
    for (let n = 0; n < (quick ? 1 : 3); n++) {
      ours.push((await subject.run('collectCore')).ms)
      if (!why) theirs.push(await gcoreAndTar(subject.pid, directory))
    }
    const our = median(ours)
    const data = { megabytes, about: subject.about, collectCore: ours, gcoreAndTar: theirs }
    const row = { what: `${megabytes} MB: collectCore`, measured: ms(our), data }
    if (why) return [row, { what: 'gcore + tar czf', skipped: why }]
    const their = median(theirs.map((one) => one.ms))
    return [{ ...row, beside: `${ms(their)} gcore + tar czf`, ratio: times(their / our), goal: '>= 8 x', met: their >= 8 * our }]
  } finally {
    await subject.stop()
  }
}

async function gcoreAndTar(pid, directory) {
  const archive = join(directory, 'gcore.tar.gz')
  const start = performance.now()
  const core = await gcore(pid, join(directory, 'gcore'))
  const gcoreMs = performance.now() - start
  await tarGz(archive, [core, ...mappedElfFiles(pid)])
  const all = performance.now() - start
  const sizes = { core: (await stat(core)).size, archive: (await stat(archive)).size }
  await Promise.all([rm(core), rm(archive)])
  return { ms: all, gcoreMs, ...sizes }
}
