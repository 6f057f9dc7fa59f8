#!/usr/bin/env node
'use strict'

// Becomes the binary of this platform, or where Node cannot do that, runs it: its input, output and signals are this
// process's, and so is the way it ends.

const { spawn } = require('node:child_process')
const { constants } = require('node:os')

const CANNOT = 3

function binary() {
  const name = `stillcore-cli-${process.platform}-${process.arch}${process.platform === 'linux' ? '-gnu' : ''}`
  try {
    return require.resolve(`${name}/stillcore`)
  } catch {
    console.error(
      `stillcore: ${name} is not installed: npm chooses it by itself, unless told to omit optional dependencies, and there may be none `
      + 'for this platform. Where there is Rust, cargo builds it: cargo install --path crates/cli, in a clone of '
      + 'https://github.com/stillcore/stillcore.',
    )
    process.exit(CANNOT)
  }
}

function become(path, args) {
  // Node warns that this is experimental, in the next tick, which never comes.
  if (typeof process.execve !== 'function') return
  try {
    process.execve(path, ['stillcore', ...args], process.env)
  } catch {
    // Worker threads and some platforms cannot.
  }
}

function run(path, args) {
  const child = spawn(path, args, { stdio: 'inherit', argv0: 'stillcore' })
  // Ctrl-C reaches both; what is sent to this process alone is passed on. Either way it is the child that decides.
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT', 'SIGUSR1', 'SIGUSR2', 'SIGCONT', 'SIGWINCH']
  const pass = (signal) => child.kill(signal)
  for (const signal of signals) process.on(signal, pass)
  child.on('error', (error) => {
    console.error(`stillcore: ${path} cannot be run: ${error.message}`)
    process.exit(CANNOT)
  })
  child.on('exit', (code, signal) => {
    for (const signal of signals) process.removeListener(signal, pass)
    if (!signal) process.exit(code)
    process.kill(process.pid, signal)
    // Where the signal is ignored, the code that a shell would give.
    setTimeout(() => process.exit(128 + constants.signals[signal]), 100)
  })
}

const path = binary()
const args = process.argv.slice(2)
become(path, args)
run(path, args)
