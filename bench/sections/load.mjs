// What the clients of example/server.js notice: requests per second and p99, with captures running
// one after the other through its admin route, and without: by either way. Then the same with one CPU.

import { spawn, spawnSync } from 'node:child_process'
import { text } from 'node:stream/consumers'
import { setTimeout as sleep } from 'node:timers/promises'

import { Load } from '../../example/load.mjs'
import { Service } from '../../example/service.mjs'
import { OneCpu } from '../cgroup.mjs'
import { medians, ms, times } from '../measure.mjs'

const CONNECTIONS = 8

export async function load({ quick, directory, log }) {
  const settings = { megabytes: quick ? 100 : 1024, seconds: quick ? 2 : 6, rounds: quick ? 1 : 3, directory, log }
  const rows = await both(settings, 'all CPUs')
  let group
  try {
    group = new OneCpu()
  } catch (error) {
    return [...rows, { what: 'one CPU', skipped: error.message }]
  }
  try {
    return [...rows, ...(await both(settings, 'one CPU', (pid) => group.add(pid)))]
  } finally {
    await group.remove()
  }
}

async function both(settings, where, onSpawn) {
  const rows = []
  for (const method of ['direct', 'kernel']) rows.push(...(await measure(settings, `${where}, ${method}`, method, onSpawn)))
  return rows
}

async function measure({ megabytes, seconds, rounds, directory, log }, where, method, onSpawn) {
  log(`${megabytes} MB of heap, ${where}`)
  const service = await Service.start({ HEAP_MB: megabytes, STILLCORE_DIRECTORY: directory, STILLCORE_METHOD: method }, { node: process.env.NODE || process.execPath, onSpawn })
  try {
    await shoot(service.port, 1)
    const idle = []
    const during = []
    const captures = []
    for (let n = 0; n < rounds; n++) {
      idle.push(await shoot(service.port, seconds))
      let shooting = true
      const shot = shoot(service.port, seconds).finally(() => (shooting = false))
      shot.catch(() => {})
      while (shooting) captures.push(await capture(service))
      during.push(await shot)
      await sleep(500)
    }
    const quiet = medians(idle)
    const busy = medians(during)
    const took = medians(captures)
    const data = { megabytes, where, tool: tool(), connections: CONNECTIONS, seconds, idle, during, captures }
    return [
      { what: `${where}: requests/s while capturing`, measured: busy.perSecond.toFixed(0), beside: `${quiet.perSecond.toFixed(0)} without`, ratio: times(busy.perSecond / quiet.perSecond), data },
      { what: `${where}: p99 while capturing`, measured: ms(busy.p99), beside: `${ms(quiet.p99)} without`, ratio: times(busy.p99 / quiet.p99) },
      { what: `${where}: a capture under load`, measured: ms(took.ms), beside: `${ms(took.callMs)} call` },
    ]
  } finally {
    await service.stop()
  }
}

async function capture(service) {
  const { id, state, error, ms: all, callMs } = await service.capture()
  if (state !== 'done') throw new Error(`${error.code}: ${error.message}`)
  await service.admin('DELETE', `/core/${id}`)
  return { ms: all, callMs }
}

const tool = () => (spawnSync('wrk', ['-v']).error ? 'example/load.mjs' : 'wrk')

// { perSecond, p99 } of that many seconds of requests.
async function shoot(port, seconds) {
  if (tool() === 'wrk') return wrk(port, seconds)
  const own = new Load({ port, connections: CONNECTIONS })
  await sleep(seconds * 1000)
  const { perSecond, p99 } = own.lap()
  await own.stop()
  return { perSecond, p99 }
}

async function wrk(port, seconds) {
  const child = spawn('wrk', ['-t1', `-c${CONNECTIONS}`, `-d${seconds}s`, '--latency', `http://127.0.0.1:${port}/`], { stdio: ['ignore', 'pipe', 'inherit'] })
  const output = await text(child.stdout)
  const [, p99, unit] = /99%\s+([\d.]+)(us|ms|s)/.exec(output) ?? []
  const [, perSecond] = /Requests\/sec:\s+([\d.]+)/.exec(output) ?? []
  if (!p99 || !perSecond) throw new Error(`wrk said something unexpected:\n${output}`)
  return { perSecond: Number(perSecond), p99: Number(p99) * { us: 1e-3, ms: 1, s: 1e3 }[unit] }
}
