'use strict'
// An event loop that stands still: no request is answered, no timer runs, and SIGTERM has no effect
// once anything listens for it.
//
//   node example/stuck.js [regex|loop]     (STUCK_MS=5000: comes free after that; default: never)
//
// Nothing can be done from inside: createCore would have to be called by the very thread that is
// stuck. (A worker that was started before could call it - see workers.js - and the whole heap would
// be in its core, but the only stack in there would be the worker's own.) From outside:
//
//   gcore PID         a core by gdb: all threads; the process stands still for seconds, then goes on
//   kill -ABRT PID    a core by the kernel, at the price of the process (ulimit -c, core_pattern)
//
// The stack in either shows `validate` or `total`, and the string or the list it cannot get through.

const { marker } = require('./markers')

const how = process.argv[2] || 'regex'
const end = process.env.STUCK_MS ? Date.now() + Number(process.env.STUCK_MS) : Infinity

// (\w+\s?)+$ tries every way to cut the words before it says no: twice the work for each letter.
function validate(comment) {
  while (Date.now() < end) if (/^(\w+\s?)+$/.test(comment)) return true
  return false
}

// Waits for a list to become empty that nobody takes from.
function total(list) {
  let sum = 0
  while (list.length > 0 && Date.now() < end) sum += list[0].price
  return sum
}

const work = {
  regex: () => validate(`${'very'.repeat(6)}! ${marker('stuck', 1)}`),
  loop: () => total([{ order: marker('stuck', 1), price: 1 }]),
}
if (!work[how]) {
  console.error(`stuck.js knows ${Object.keys(work).join(' and ')}, not ${how}`)
  process.exit(2)
}

console.log(JSON.stringify({ pid: process.pid, how }))
setTimeout(() => console.log(JSON.stringify({ free: true })), 10)
setImmediate(work[how])
