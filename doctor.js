'use strict'

// node -r stillcore/doctor [app.js]: before an incident, what a capture would meet here. Without an application the
// report is all that happens, and the exit code says whether createCore would work.

const { writeSync } = require('node:fs')
const { isMainThread } = require('node:worker_threads')
const { doctor } = require('./index.js')

const WIDTH = 100
const NAMES = 20

function print() {
  // What -e and -p run is an application too.
  const alone = process.argv.length === 1 && process._eval === undefined
  let ok = false
  let text
  try {
    const report = doctor.now()
    ok = report.ok
    text = process.env.STILLCORE_DOCTOR === 'json' ? `${JSON.stringify(report, null, 2)}\n` : table(report, alone)
  } catch (error) {
    // An application must start all the same.
    text = `stillcore doctor: ${error.message}\n`
  }
  try {
    // Not through process.stderr: what becomes of that is the application's affair.
    writeSync(alone ? 1 : 2, text)
  } catch {
    // Whoever reads it may close early (| head).
  }
  if (alone) process.exit(ok ? 0 : 1)
}

// --- the table -----------------------------------------------------------------------------------

function table(report, alone) {
  const { ok, platform, node, libc } = report
  const where = [`Node ${node.slice(1)}`, platform, libc && [libc.name, libc.version].filter(Boolean).join(' ')]
  return [
    `stillcore doctor: createCore ${ok ? 'works here' : 'DOES NOT WORK here'}`,
    ...wrapped(`${where.filter(Boolean).join(', ')}; as of now${alone ? ', with no application' : ''}.`, ''),
    '',
    ...ways(report.ways),
    ...(report.libc ? facts(report) : []), // without the addon nothing was found
    ...(report.warnings.length ? [''] : []),
    ...report.warnings.flatMap((warning) => row(' !', 'note', warning)),
    '',
  ].join('\n')
}

function ways({ kernel, direct }) {
  if (!kernel.works && kernel.why === direct.why) return way('any way', kernel)
  return [...way('kernel way', kernel), ...way('direct way', direct)]
}

function way(name, { works, why, change }) {
  if (works) return row('ok', name, 'works')
  return [...row('no', name, why), ...row('', '', `-> ${change}`, 3)]
}

function facts(report) {
  const { corePattern, limits, directory, memory, sigsegv, dontFork, estimates } = report
  const mark = (good) => (good ? 'ok' : 'no')
  const least = memory.rss ?? 0
  const fits = (limit) => !limit || limit.hard === null || limit.hard >= least
  return [
    '',
    ...row(corePattern ? mark(corePattern.kernelWay) : ' ?', 'core_pattern', corePattern ? `${corePattern.value || '(empty)'}: ${corePattern.meaning}` : 'unknown'),
    ...row(mark(fits(limits.core)), 'core size limit', limitWords(limits.core, 'the copy raises its soft limit')),
    ...row(mark(fits(limits.fileSize)), 'file size limit', limitWords(limits.fileSize)),
    // Hardly anybody has these.
    ...(limits.addressSpace?.soft != null ? row('', 'address space', limitWords(limits.addressSpace)) : []),
    ...(limits.data?.soft != null ? row('', 'writable memory', limitWords(limits.data)) : []),
    ...row(mark(directory.writable), 'directory', directoryWords(directory)),
    ...row(mark(!memory.cgroup || memory.cgroup.free >= memory.cgroup.reserve), 'memory', memoryWords(memory)),
    ...row('', 'overcommit', overcommitWords(memory.overcommit)),
    ...row('', "V8's fork marks", dontFork ? `${dontFork.ranges} ranges, ${size(dontFork.bytes)}, of it ${size(dontFork.resident)} in memory` : 'unknown'),
    ...row('', 'SIGSEGV', sigsegv ? `${sigsegv.state}${sigsegv.by ? ` by ${sigsegv.by}` : ''} (only the copy resets it)` : 'unknown'),
    ...row('', 'threads', `${report.threads ?? 'unknown'}`),
    ...row('', 'rights', rightsWords(report)),
    ...row('', 'container', containerWords(report.container)),
    ...(estimates ? ['', ...estimateRows(estimates)] : []),
  ]
}

function estimateRows({ pauseMs, coreBytes, archiveBytes, memoryReserve, freeBytesNeeded }) {
  return [
    ...row(' ~', 'pause', `${pauseMs} ms, up to 3 times that on a busy machine`),
    ...row(' ~', 'createCore', `${size(coreBytes)} on disk`),
    ...row(' ~', 'collectCore', `${size(archiveBytes)} on disk in the end, ${size(freeBytesNeeded)} while it packs`),
    ...row(' ~', 'memory', `${size(memoryReserve)} free while the copy lives`),
    ...row('', '', 'Estimates (~) for the process as it is now; call doctor() in one under load.'),
  ]
}

function limitWords(limit, remark) {
  if (!limit) return 'unknown'
  const words = (bytes) => (bytes === null ? 'unlimited' : bytes === 0 ? '0' : size(bytes))
  const raised = remark && limit.soft !== limit.hard ? ` (${remark})` : ''
  return `soft ${words(limit.soft)}, hard ${words(limit.hard)}${raised}`
}

function directoryWords({ path, writable, freeBytes, fileSystem }) {
  const rest = [fileSystem, freeBytes !== null && `${size(freeBytes)} free`, writable ? 'writable' : 'NOT WRITABLE']
  return [path, ...rest.filter(Boolean)].join(', ')
}

function memoryWords({ rss, cgroup }) {
  const own = `RSS ${size(rss)}`
  if (!cgroup) return `${own}; no limit by a control group`
  const { version, free, limit, reserve } = cgroup
  return `${own}; control group (v${version}): ${size(free)} of ${size(limit)} free, ${size(reserve)} of it in reserve`
}

function overcommitWords({ mode, free }) {
  const words = ['heuristic', 'always', 'never'][mode] ?? 'unknown'
  return free === null ? words : `${words}, ${size(free)} left to promise`
}

function rightsWords({ capabilities, yama, seccomp, noNewPrivs, dumpable }) {
  const { effective, ...named } = capabilities ?? {}
  const held = Object.keys(named).filter((name) => named[name])
  const filters = seccomp?.filters === null || !seccomp?.filters ? '' : ` (${seccomp.filters})`
  return [
    capabilities ? `capabilities ${held.join(', ') || 'none that matter'}` : 'capabilities unknown',
    `Yama ${yama ?? 'none'}`,
    `seccomp ${seccomp ? seccomp.mode + filters : 'unknown'}`,
    `no_new_privs ${noNewPrivs === null ? 'unknown' : noNewPrivs ? 'yes' : 'no'}`,
    `dumpable ${dumpable ?? 'unknown'}`,
  ].join('; ')
}

function containerWords({ pidNamespace, userNamespace, mountNamespace, cgroup }) {
  const all = { pid: pidNamespace, user: userNamespace, mount: mountNamespace }
  const names = (value) => Object.keys(all).filter((name) => all[name] === value)
  const [own, unknown] = [names(true), names(null)]
  return [
    own.length ? `own ${own.join(', ')} namespace` : "none of its own namespaces (the host's)",
    unknown.length && `${unknown.join(', ')} namespace unknown`,
    cgroup !== null && `control group ${cgroup}`,
  ].filter(Boolean).join('; ')
}

/** A mark, a name and words, wrapped under the first of them. */
function row(mark, name, words, hang = 0) {
  const indent = ' '.repeat(4 + NAMES)
  const lines = wrapped(words, indent, hang)
  lines[0] = `${mark.padEnd(2)}  ${name.padEnd(NAMES)}${lines[0].slice(indent.length)}`.trimEnd()
  return lines
}

function wrapped(text, indent, hang = 0) {
  const lines = []
  let line = ''
  const room = () => WIDTH - indent.length - (lines.length > 0 ? hang : 0)
  for (let word of text.split(' ')) {
    if (line && line.length + 1 + word.length > room()) {
      lines.push(line)
      line = ''
    }
    // A path may be longer than any line.
    while (word.length > room()) {
      const part = word.slice(0, room())
      lines.push(part)
      word = word.slice(part.length)
    }
    line += (line && ' ') + word
  }
  lines.push(line)
  return lines.map((text, index) => indent + ' '.repeat(index > 0 ? hang : 0) + text)
}

function size(bytes) {
  if (bytes < 1024) return `${bytes} bytes`
  const units = ['KB', 'MB', 'GB', 'TB', 'PB', 'EB']
  let unit = 0
  let number = bytes / 1024
  for (; number >= 1000 && unit + 1 < units.length; unit++) number /= 1024
  return `${number.toFixed(number < 10 ? 1 : 0)} ${units[unit]}`
}

// Workers and their preloads would say it all again.
if (isMainThread) print()
