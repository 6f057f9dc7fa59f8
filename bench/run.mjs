// npm run bench [-- [--quick] section ...]: the figures of the README, side by side in one run.
//
//   pause      createCore beside the bare fork and gcore, at 100 MB, 1 GB and 4 GB of heap
//   snapshot   v8.writeHeapSnapshot beside createCore (at 1 GB: over a minute and 5 GB of memory)
//   collect    collectCore beside gcore + tar czf
//   direct     the direct way: archives, the life of the copy, igzip on the same bytes, pause with many threads
//   load       requests per second and p99 of example/server.js while captures run; also with one CPU
//   memory     extra peak RSS of the service
//   cli        the command: info of a 10 GB sparse core, bt beside gdb, archive beside savedump's way, answers from an archive
//   autopsy    the JavaScript in a core: jsstack of 2 GB, findjsobjects over 4 million objects, jsprint, beside llnode
//   spawn      child_process.spawnSync before and after a capture
//
// Without a section: all of them, about 20 minutes on 2 CPUs, with 12 GB of memory and 12 GB of room
// in TMPDIR. --quick: 100 MB and few repetitions, about a minute; good to see that everything runs,
// not to quote. NODE=path measures that Node. Figures are medians. They also go, with every single
// measurement, to bench/results/<name>.json. Leave the machine alone meanwhile.

import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { arch, availableParallelism, cpus, release, tmpdir, totalmem } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

import { table } from './measure.mjs'
import { buildNative } from './native.mjs'
import { autopsy } from './sections/autopsy.mjs'
import { cli } from './sections/cli.mjs'
import { collect } from './sections/collect.mjs'
import { direct } from './sections/direct.mjs'
import { load } from './sections/load.mjs'
import { memory } from './sections/memory.mjs'
import { pause } from './sections/pause.mjs'
import { snapshot } from './sections/snapshot.mjs'
import { spawn } from './sections/spawn.mjs'

const SECTIONS = { pause, snapshot, collect, direct, load, memory, spawn, cli, autopsy }

const args = process.argv.slice(2)
const quick = args.includes('--quick')
const names = args.filter((arg) => arg !== '--quick')
const unknown = names.find((name) => !SECTIONS[name])
if (unknown !== undefined) {
  console.error(`bench knows ${Object.keys(SECTIONS).join(', ')} and --quick, not ${unknown}`)
  process.exit(2)
}

const machine = {
  node: execFileSync(process.env.NODE || process.execPath, ['--version'], { encoding: 'utf8' }).trim(),
  kernel: release(), arch: arch(), cpu: cpus()[0]?.model, cpus: availableParallelism(), memory: totalmem(),
}
console.log(`Node ${machine.node}, Linux ${machine.kernel} ${machine.arch}, ${machine.cpus} CPUs (${machine.cpu}), ${Math.round(machine.memory / 2 ** 30)} GB${quick ? '; --quick: not to be quoted' : ''}`)

buildNative()
const directory = mkdtempSync(join(tmpdir(), 'stillcore-bench-'))
process.on('exit', () => rmSync(directory, { recursive: true, force: true }))
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => process.exit(1))

const began = new Date()
const all = []
for (const name of names.length ? names : Object.keys(SECTIONS)) {
  const log = (text) => console.error(`${name}: ${text} ...`)
  let rows
  try {
    rows = await SECTIONS[name]({ quick, directory, log })
  } catch (error) {
    process.exitCode = 1
    rows = [{ what: name, skipped: `it failed: ${error.code ? `${error.code}: ` : ''}${error.message}` }]
  }
  console.log(`\n${name}\n${table(rows)}`)
  all.push(...rows.map((row) => ({ section: name, ...row })))
}

const results = fileURLToPath(new URL('./results/', import.meta.url))
mkdirSync(results, { recursive: true })
const file = join(results, `${began.toISOString().replace(/[:T]/g, '-').slice(0, 19)}-node${machine.node}${quick ? '-quick' : ''}.json`)
writeFileSync(file, `${JSON.stringify({ began, seconds: Math.round((Date.now() - began) / 1000), quick, sections: names, machine, rows: all }, null, 2)}\n`)
console.log(`\nAll measurements: ${file}`)
