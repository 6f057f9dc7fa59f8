// What a capture costs the service in memory: its own peak RSS while collectCore runs, beside its
// RSS before. The kernel counts page tables apart.

import { mb, medians } from '../measure.mjs'
import { Subject } from '../subject.mjs'

const GOAL = 20 * 1024 * 1024

export async function memory({ quick, directory, log }) {
  const megabytes = quick ? 100 : 1024
  log(`${megabytes} MB of heap`)
  const subject = await Subject.start(megabytes, { directory })
  try {
    const runs = []
    for (let n = 0; n < (quick ? 1 : 5); n++) runs.push(await subject.run('collectCore'))
    const extra = runs.map(({ rssBefore, peak, pageTablesBefore, pageTablesAfter }) => ({ rss: peak - rssBefore, pageTables: pageTablesAfter - pageTablesBefore }))
    const middle = medians(extra)
    const about = medians(runs)
    return [
      { what: `${megabytes} MB: extra peak RSS of collectCore`, measured: mb(middle.rss), beside: `${mb(about.rssBefore)} before`, goal: '<= 20 MB', met: middle.rss <= GOAL, data: { megabytes, about: subject.about, runs } },
      { what: `${megabytes} MB: page tables of the service`, measured: mb(about.pageTablesAfter), beside: `${mb(about.pageTablesBefore)} before` },
    ]
  } finally {
    await subject.stop()
  }
}
