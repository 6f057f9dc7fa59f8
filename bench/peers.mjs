// What people use today, to measure against: gdb's gcore, and tar.

import { execFile, spawnSync } from 'node:child_process'
import { closeSync, openSync, readFileSync, readSync } from 'node:fs'
import { promisify } from 'node:util'

const run = promisify(execFile)

// Why gcore cannot be measured here, or null.
export function withoutGcore() {
  if (spawnSync('gcore', ['-h']).error) return 'no gcore here (it comes with gdb)'
  const yama = read('/proc/sys/kernel/yama/ptrace_scope')
  if (yama && yama.trim() !== '0' && process.getuid() !== 0) return `gcore may not look at other processes (ptrace_scope is ${yama.trim()})`
  return null
}

// Gives the core's file name.
export async function gcore(pid, prefix) {
  await run('gcore', ['-o', prefix, String(pid)], { maxBuffer: 1 << 28 })
  return `${prefix}.${pid}`
}

export async function tarGz(archive, files) {
  await run('tar', ['czf', archive, '-C', '/', ...files.map((file) => file.slice(1))], { maxBuffer: 1 << 28 })
}

// The ELF files that the process has mapped.
export function mappedElfFiles(pid) {
  const paths = new Set(read(`/proc/${pid}/maps`).split('\n').map((line) => /^\S+ \S+ \S+ \S+ \d+ +(\/.*)$/.exec(line)?.[1]))
  return [...paths].filter((path) => path && isElf(path))
}

function isElf(path) {
  try {
    const file = openSync(path)
    const magic = Buffer.alloc(4)
    readSync(file, magic, 0, 4, 0)
    closeSync(file)
    return magic.toString('latin1') === '\x7fELF'
  } catch {
    return false
  }
}

function read(path) {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return null
  }
}
