// child_process must not get slower by a capture, as it does when V8's pages stay marked for forking.

import { median, ms, times } from '../measure.mjs'
import { Subject } from '../subject.mjs'

export async function spawn({ quick, directory, log }) {
  const megabytes = quick ? 100 : 1024
  const count = quick ? 20 : 30
  log(`${megabytes} MB of heap`)
  const subject = await Subject.start(megabytes, { directory })
  try {
    await subject.run('spawn', { count: 5 })
    const before = []
    const after = []
    for (let n = 0; n < (quick ? 2 : 5); n++) {
      before.push(...(await subject.run('spawn', { count })))
      await subject.run('createCore')
      after.push(...(await subject.run('spawn', { count })))
    }
    const ratio = median(after) / median(before)
    return [{
      what: `${megabytes} MB: spawnSync after a capture`, measured: ms(median(after)), beside: `${ms(median(before))} before`, ratio: times(ratio),
      goal: '<= 1.2 x', met: ratio <= 1.2, data: { megabytes, about: subject.about, before, after },
    }]
  } finally {
    await subject.stop()
  }
}
