// v8.writeHeapSnapshot, which stops the service for as long as it takes, beside createCore.

import { medians, ms, times } from '../measure.mjs'
import { Subject } from '../subject.mjs'

export async function snapshot({ quick, directory, log }) {
  const rows = []
  for (const megabytes of quick ? [100] : [100, 1024]) {
    log(`${megabytes} MB of heap`)
    const subject = await Subject.start(megabytes, { directory })
    try {
      const ours = []
      for (let n = 0; n < 3; n++) ours.push(await subject.run('createCore'))
      const our = medians(ours)
      const { callMs } = await subject.run('writeHeapSnapshot', { directory })
      rows.push({
        what: `${megabytes} MB: v8.writeHeapSnapshot`, measured: ms(callMs), beside: `${ms(our.gapMs)} createCore`, ratio: times(callMs / our.gapMs),
        goal: '>= 500 x', met: callMs >= 500 * our.gapMs, data: { megabytes, about: subject.about, createCore: ours, callMs },
      })
    } finally {
      await subject.stop()
    }
  }
  return rows
}
