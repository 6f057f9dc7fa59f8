// The JavaScript inside a core: jsstack of a large core from a cold start, findjsobjects over four million objects with its
// memory, jsprint; and findjsobjects beside llnode, which reads Node up to 20 (LLNODE: its plug-in for the lldb at hand).

import { execFile } from 'node:child_process'
import { existsSync, rmSync, statSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

import { buildCommand } from '../../scripts/workspace.mjs'
import { mb, median, ms, times } from '../measure.mjs'

const run = promisify(execFile)
const root = fileURLToPath(new URL('../..', import.meta.url))
const node = process.env.NODE || process.execPath
const options = { maxBuffer: 1 << 28 }
const node20 = join(root, '.cache', 'nodes', '20', 'node_modules', `node-linux-${process.arch}`, 'bin', 'node')

export async function autopsy({ quick, directory, log }) {
  log('building the command')
  const stillcore = process.env.STILLCORE_COMMAND ?? buildCommand()
  const repeat = quick ? 3 : 7
  const rows = []

  const megabytes = quick ? 200 : 2048
  log(`a core of ${megabytes} MB`)
  const large = await captured(node, directory, heapOf(megabytes), megabytes * 2 + 1024)
  const stack = await measured(repeat, [stillcore, 'jsstack', large], { cold: true })
  rows.push({
    what: `jsstack of a core of ${mb(statSync(large).size)}, cold`,
    measured: ms(stack.median), goal: '<= 300 ms', met: stack.median <= 300, data: stack,
  })
  const found = await measured(quick ? 1 : 3, [stillcore, 'findjsobjects', large])
  rows.push({ what: 'findjsobjects of the same', measured: ms(found.median), data: found })
  rows.push({ what: 'findjsobjects: its RSS', measured: mb(found.rss), goal: '<= 200 MB', met: found.rss <= 200 * 2 ** 20, data: found })
  rmSync(dirname(large), { recursive: true })

  const objects = quick ? 400_000 : 4_000_000
  log(`a core with ${objects} objects`)
  const many = await captured(node, directory, objectsOf(objects), 4096)
  const groups = await measured(repeat, [stillcore, 'findjsobjects', many])
  rows.push({
    what: `findjsobjects over ${objects / 1e6} million objects`,
    measured: ms(groups.median), goal: '<= 1 s', met: groups.median <= 1000, data: groups,
  })
  rows.push({ what: 'findjsobjects: its RSS', measured: mb(groups.rss), goal: '<= 200 MB', met: groups.rss <= 200 * 2 ** 20, data: groups })
  const { stdout } = await run(stillcore, ['findjsinstances', many, 'Planted', '-n', '1'], options)
  const print = await measured(repeat, [stillcore, 'jsprint', many, stdout.split('\n')[0].trim(), '-d', '2'])
  rows.push({ what: 'jsprint of one of them', measured: ms(print.median), goal: '<= 300 ms', met: print.median <= 300, data: print })
  rmSync(dirname(many), { recursive: true })

  rows.push(...await besideLlnode(stillcore, directory, quick, log))
  return rows
}

async function besideLlnode(stillcore, directory, quick, log) {
  const what = 'findjsobjects on Node 20'
  const plugin = process.env.LLNODE
  const without = !plugin ? 'LLNODE names no plug-in'
    : !existsSync(plugin) ? `there is no ${plugin}`
      : !existsSync(node20) ? 'there is no Node 20 in .cache/nodes'
        : await run('lldb', ['--version']).then(() => undefined, () => 'there is no lldb here')
  if (without) return [{ what: `${what} beside llnode`, skipped: without }]
  log('beside llnode on Node 20')
  const core = await captured(node20, directory, objectsOf(quick ? 100_000 : 1_000_000), 4096)
  const repeat = quick ? 1 : 3
  const reachable = await measured(repeat, [stillcore, 'findjsobjects', core])
  const all = await measured(repeat, [stillcore, 'findjsobjects', core, '--all'])
  const start = performance.now()
  const { stdout } = await run('lldb', ['-b', '-o', `plugin load ${plugin}`, '-o', 'v8 findjsobjects', node20, '-c', core], options)
  const theirs = performance.now() - start
  rmSync(dirname(core), { recursive: true })
  if (!stdout.includes('Planted')) return [{ what: `${what} beside llnode`, skipped: 'llnode did not find the objects' }]
  // llnode counts garbage too: with --all the answer is the same. Without it ours also finds out what is reachable.
  return [[what, reachable], [`${what}, --all`, all]].map(([what, ours]) => ({
    what, measured: ms(ours.median), beside: `${ms(theirs)} llnode`, ratio: times(theirs / ours.median), goal: '>= 50 x',
    met: theirs / ours.median >= 50, data: { ours, theirs },
  }))
}

const heapOf = (megabytes) => `
  import { buildHeap } from ${JSON.stringify(join(root, 'bench', 'heap.mjs'))}
  globalThis.kept = buildHeap(${megabytes})`

// Two objects at a time: one with a constructor (no class: llnode 4 finds no names of classes in Node 20), and a plain one
// that it holds.
const objectsOf = (count) => `
  function Planted(n) { this.n = n; this.half = n / 2 | 0; this.child = { v: n, w: 'text' } }
  globalThis.kept = []
  for (let n = 0; n < ${count / 2}; n += 50_000) globalThis.kept.push(Array.from({ length: Math.min(50_000, ${count / 2} - n) }, (_, i) => new Planted(n + i)))`

/** The core of a Node process that ran this. */
async function captured(node, directory, source, space) {
  const whole = `
    import stillcore from ${JSON.stringify(join(root, 'index.js'))}
    ${source}
    const { path } = await stillcore.capture({ directory: ${JSON.stringify(directory)}, what: 'core', method: 'direct' })
    console.log('path=' + path)
  `
  const args = ['--expose-gc', `--max-old-space-size=${space}`, '--input-type=module', '-e', whole]
  const { stdout } = await run(node, args, { ...options, cwd: root })
  return /^path=(.*)$/m.exec(stdout)[1]
}

/** Runs a command so many times: { all, median } in ms, and the largest RSS in bytes where python3 can tell it. */
async function measured(repeat, [program, ...args], { cold } = {}) {
  const all = []
  for (let n = 0; n < repeat; n++) {
    // dd tells the kernel to forget what it has of the core.
    if (cold) await run('dd', [`if=${args.at(-1)}`, 'iflag=nocache', 'count=0', 'status=none']).catch(() => {})
    const start = performance.now()
    await run(program, args, options)
    all.push(performance.now() - start)
  }
  const script = 'import os, sys; pid = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ, '
    + 'file_actions=[(os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0)]); print(os.wait4(pid, 0)[2].ru_maxrss * 1024)'
  const rss = await run('python3', ['-c', script, program, ...args]).then(({ stdout }) => Number(stdout), () => NaN)
  return { all, median: median(all), rss }
}
