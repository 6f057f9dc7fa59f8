// The command stillcore on cores of Node: info on a 10 GB sparse core, bt beside gdb, the first answer from an archive of
// ours, and archive beside savedump's way: gdb's list of libraries, ldd, a folder of copies, tar czf.

import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { copyFileSync, mkdirSync, mkdtempSync, realpathSync, rmSync, statfsSync, statSync, writeFileSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

import { buildCommand } from '../../scripts/workspace.mjs'
import { mb, median, ms, times } from '../measure.mjs'

const run = promisify(execFile)
const root = fileURLToPath(new URL('../..', import.meta.url))
const node = process.env.NODE || process.execPath
const options = { maxBuffer: 1 << 28 }

export async function cli({ quick, directory, log }) {
  log('building the command')
  const stillcore = process.env.STILLCORE_COMMAND ?? buildCommand()
  const megabytes = quick ? 100 : 1024
  const repeat = quick ? 3 : 7
  const rows = []

  log(`a sparse core of ${quick ? 2 : 10} GB`)
  const sparse = await captured(directory, 'core', { megabytes: 20, empty: quick ? 2 : 10 })
  const facts = statSync(sparse)
  const info = await measured(repeat, [stillcore, 'info', sparse])
  rows.push({
    what: `info: core of ${gb(facts.size)} (${mb(facts.blocks * 512)} on disk)`,
    measured: ms(info.median), goal: '<= 500 ms', met: info.median <= 500, data: info,
  })
  rows.push({ what: 'info: its RSS', measured: mb(info.rss), goal: '<= 50 MB', met: info.rss <= 50 * 2 ** 20, data: info })
  rmSync(dirname(sparse), { recursive: true })

  log(`a core of ${megabytes} MB`)
  const core = await captured(directory, 'core', { megabytes })
  const withoutGdb = await run('gdb', ['--version']).then(() => undefined, () => 'there is no gdb here')
  rows.push(await backtraces(stillcore, core, withoutGdb, repeat))
  rows.push(...await packing(stillcore, core, withoutGdb, directory, quick ? 1 : 3, log))
  rmSync(dirname(core), { recursive: true })

  log(`an archive of ${megabytes} MB`)
  const archive = await captured(directory, 'archive', { megabytes })
  for (const command of ['info', 'threads', 'bt']) {
    const first = await measured(repeat, [stillcore, command, archive], { freshCache: directory })
    rows.push({
      what: `${command}: first answer from an archive of ${megabytes} MB (${mb(statSync(archive).size)})`,
      measured: ms(first.median), goal: command === 'info' ? '<= 1 s' : '', met: command === 'info' ? first.median <= 1000 : undefined, data: first,
    })
  }
  rmSync(archive)
  return rows
}

const gb = (bytes) => `${(bytes / 2 ** 30).toFixed(1)} GB`

/** A core or archive of a Node process with so many MB of heap, and `empty` GB that nothing was ever written to. */
async function captured(directory, what, { megabytes, empty = 0 }) {
  const source = `
    import { buildHeap } from ${JSON.stringify(join(root, 'bench', 'heap.mjs'))}
    import stillcore from ${JSON.stringify(join(root, 'index.js'))}
    globalThis.kept = buildHeap(${megabytes})
    globalThis.empty = Array.from({ length: ${empty} }, () => new ArrayBuffer(2 ** 30))
    const { path } = await stillcore.capture({ directory: ${JSON.stringify(directory)}, what: '${what}' })
    console.log('path=' + path)
  `
  const args = ['--expose-gc', `--max-old-space-size=${megabytes * 2 + 1024}`, '--input-type=module', '-e', source]
  const { stdout } = await run(node, args, { ...options, cwd: root })
  return /^path=(.*)$/m.exec(stdout)[1]
}

/** Runs a command so many times: { all, median } in ms, and the largest RSS in bytes where python3 can tell it. */
async function measured(repeat, [program, ...args], { freshCache } = {}) {
  const all = []
  for (let n = 0; n < repeat; n++) {
    const cache = freshCache && mkdtempSync(join(freshCache, 'cache-'))
    const env = cache ? { ...process.env, XDG_CACHE_HOME: cache } : process.env
    const start = performance.now()
    await run(program, args, { ...options, env })
    all.push(performance.now() - start)
    if (cache) rmSync(cache, { recursive: true })
  }
  const script = 'import os, sys; pid = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ, '
    + 'file_actions=[(os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0)]); print(os.wait4(pid, 0)[2].ru_maxrss * 1024)'
  const rss = await run('python3', ['-c', script, program, ...args]).then(({ stdout }) => Number(stdout), () => NaN)
  return { all, median: median(all), rss }
}

async function backtraces(stillcore, core, withoutGdb, repeat) {
  const ours = []
  const theirs = []
  for (let n = 0; n < repeat; n++) {
    ours.push((await measured(1, [stillcore, 'bt', core])).median)
    if (!withoutGdb) {
      const gdb = ['gdb', '-nx', '-batch', '-iex', 'set debuginfod enabled off', '-ex', 'thread apply all bt', node, core]
      theirs.push((await timed(gdb)))
    }
  }
  const row = { what: 'bt of a Node core', measured: ms(median(ours)), data: { ours, theirs } }
  if (withoutGdb) return { ...row, what: `${row.what} (${withoutGdb})` }
  const ratio = median(theirs) / median(ours)
  return { ...row, beside: `${ms(median(theirs))} gdb`, ratio: times(ratio), goal: '>= 5 x', met: ratio >= 5 }
}

async function timed([program, ...args], more) {
  const start = performance.now()
  await run(program, args, { ...options, ...more })
  return performance.now() - start
}

async function packing(stillcore, core, withoutGdb, directory, repeat, log) {
  const ours = []
  const theirs = []
  let peak = 0
  let size = 0
  for (let n = 0; n < repeat; n++) {
    const folder = mkdtempSync(join(directory, 'archive-'))
    const file = join(folder, 'archive.tar.gz')
    const disk = diskPeak(folder)
    ours.push(await timed([stillcore, 'archive', core, '-o', file]))
    peak = Math.max(peak, disk.stop())
    size = statSync(file).size
    if (!withoutGdb) {
      log('savedump\'s way')
      theirs.push(await savedumpsWay(core, folder))
    }
    rmSync(folder, { recursive: true })
  }
  const row = { what: `archive of a core of ${mb(statSync(core).size)}`, measured: ms(median(ours)), data: { ours, theirs } }
  // Folders and the file's last block are no extra worth a word.
  const extra = { what: 'archive: peak extra disk', measured: mb(peak), beside: `${mb(size)} archive`, goal: 'the archive', met: peak <= size + 2 ** 20, data: { peak, size } }
  if (withoutGdb) return [{ ...row, what: `${row.what} (${withoutGdb})` }, extra]
  const ratio = median(theirs) / median(ours)
  return [{ ...row, beside: `${ms(median(theirs))} savedump's way`, ratio: times(ratio), goal: '>= 10 x', met: ratio >= 10 }, extra]
}

/** Watches how much less is free on the disk of a folder: stop() gives the most, in bytes. */
function diskPeak(folder) {
  const free = () => {
    const { bavail, bsize } = statfsSync(folder)
    return bavail * bsize
  }
  const before = free()
  let most = 0
  const look = () => (most = Math.max(most, before - free()))
  const timer = setInterval(look, 20)
  return {
    stop() {
      look()
      clearInterval(timer)
      return most
    },
  }
}

// savedump.py, step by step: libraries by gdb, ldd where that finds none; readelf twice for each; copies; tar czf.
async function savedumpsWay(core, directory) {
  const start = performance.now()
  const top = join(directory, `archive-${basename(core)}`)
  const { stdout } = await run('gdb', ['--batch', '--nx', '--eval-command=info sharedlibrary', '-c', core, node], options)
  let libraries = stdout.split('\n').map((line) => /^0x.* (\/\S+)$/.exec(line)?.[1]).filter(Boolean)
  if (libraries.length === 0) {
    const ldd = await run('ldd', [node], options)
    libraries = ldd.stdout.split('\n').map((line) => /(\/\S+) \(0x/.exec(line)?.[1]).filter(Boolean)
  }
  const files = [realpathSync(node), ...libraries]
  for (const file of files) {
    await run('readelf', ['-S', file], options)
    await run('readelf', ['-n', file], options)
  }
  for (const file of [core, ...files]) {
    const to = join(top, file)
    mkdirSync(dirname(to), { recursive: true })
    copyFileSync(file, to)
  }
  writeFileSync(join(top, 'run-gdb.sh'), '#!/bin/bash\n')
  const tar = spawn('tar', ['czf', `${top}.tar.gz`, '-C', directory, basename(top)], { stdio: 'ignore' })
  await once(tar, 'exit')
  rmSync(top, { recursive: true })
  return performance.now() - start
}
