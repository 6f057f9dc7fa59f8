// A control group with one CPU, version 1 or 2, for a child process.

import { existsSync, mkdirSync, rmdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

const ROOT = '/sys/fs/cgroup'
const PERIOD = 100_000

// Throws, saying why, where there can be none.
export class OneCpu {
  #folder

  constructor() {
    const second = existsSync(join(ROOT, 'cgroup.controllers'))
    this.#folder = join(second ? ROOT : join(ROOT, 'cpu'), `stillcore-bench-${process.pid}`)
    try {
      if (second) writeFileSync(join(ROOT, 'cgroup.subtree_control'), '+cpu')
      mkdirSync(this.#folder)
    } catch (error) {
      throw new Error(`control groups are not writable here (${error.message})`)
    }
    try {
      if (second) writeFileSync(join(this.#folder, 'cpu.max'), `${PERIOD} ${PERIOD}`)
      else {
        writeFileSync(join(this.#folder, 'cpu.cfs_period_us'), String(PERIOD))
        writeFileSync(join(this.#folder, 'cpu.cfs_quota_us'), String(PERIOD))
      }
    } catch (error) {
      rmdirSync(this.#folder)
      throw new Error(`a control group cannot be limited to one CPU here (${error.message})`)
    }
  }

  add(pid) {
    writeFileSync(join(this.#folder, 'cgroup.procs'), String(pid))
  }

  // After its processes have ended; a copy that is just being killed takes a moment more.
  async remove() {
    for (let tries = 20; ; tries--) {
      try {
        return rmdirSync(this.#folder)
      } catch (error) {
        if (error.code !== 'EBUSY' || tries === 0) throw error
        await sleep(50)
      }
    }
  }
}
