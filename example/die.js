'use strict'
// A service that dies of an uncaught exception, far from where anyone would look for it.
//
//   ulimit -c unlimited
//   node --abort-on-uncaught-exception example/die.js
//
// With that flag V8 aborts at the `throw`, the stack still standing, and the kernel leaves a core
// (where /proc/sys/kernel/core_pattern says): the frames, their arguments and what the closures
// captured are all in it. Without the flag the stack is gone before anyone can look: exit code 1.
//
// It takes orders by itself, one every 10 ms, and dies at number DIE_AT (default 17), of an order
// whose second line has no goods.

const { marker } = require('./markers')

class OutOfStock extends Error {
  constructor(order, line) {
    super(`order ${order.number}: line ${line} asks for goods that nobody has`)
    this.name = 'OutOfStock'
    this.order = order
  }
}

const dieAt = Number(process.env.DIE_AT || 17)
const stock = new Map([['kettle', 3], ['lamp', 40], ['teapot', 7]])
const taken = []

// Each of these keeps what it was made with in its closure.
function pricer(customer) {
  const discount = customer.visits > 10 ? 0.9 : 1
  return function price(line) {
    return line.count * line.price * discount
  }
}

function picker(order, price) {
  let sum = 0
  return function pick(line, index) {
    if (!stock.has(line.goods)) throw new OutOfStock(order, index)
    sum += price(line)
    return { ...line, sum }
  }
}

function packOrder(order, customer) {
  const pick = picker(order, pricer(customer))
  const parcel = { secret: marker('die', order.id), lines: order.lines.map(pick) }
  taken.push(parcel)
  return parcel
}

function receive(id) {
  const customer = { name: `customer ${id}`, visits: id % 23 }
  const order = { id, number: marker('order', id), lines: [{ goods: 'kettle', count: 1, price: 29.9 }, { goods: 'lamp', count: id, price: 9.5 }] }
  if (id === dieAt) order.lines[1].goods = 'unicorn'
  return packOrder(order, customer)
}

let next = 1
console.log(JSON.stringify({ pid: process.pid, dieAt }))
setInterval(function takeOrder() {
  receive(next++)
}, 10)
