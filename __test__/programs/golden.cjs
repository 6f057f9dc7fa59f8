// A small shop with something for every command of autopsy to show: a core of itself, captured inside a call three deep,
// is left in the folder named by the first argument. __test__/autopsy-golden.spec.mjs keeps what each command prints of it.
//
//   mkfifo FOLDER/fifo; node golden.cjs FOLDER
'use strict';
const { EventEmitter } = require('node:events');
const fs = require('node:fs');
const net = require('node:net');
const path = require('node:path');
const { Worker } = require('node:worker_threads');
const { capture } = require('../..');

const [folder] = process.argv.slice(2);

class Customer {
  #card = '4111-1111';

  constructor(name) { this.name = name; }

  get masked() { return `${this.#card.slice(0, 4)}-****`; }
}

class Order {
  constructor(id, customer, prices) {
    this.id = id;
    this.customer = customer;
    this.lines = prices.map((price, n) => ({ goods: `goods ${n}`, price }));
  }
}

class Shop extends EventEmitter {
  constructor() {
    super();
    this.orders = new Map();
    this.open = true;
    this.receipt = Buffer.from('two teas, paid\n');
    this.notes = ['first', 42, , { a: 1 }];
    this.rates = new Float64Array([0.5, -0, 3]);
  }

  take(order) { this.orders.set(order.id, order); return order; }
}

/** A function that holds on to variables of two scopes. */
function makeTill(start) {
  let cash = start;
  const currency = { code: 'EUR' };
  {
    const drawer = 'top';
    return function ring(amount) {
      cash += amount;
      return [cash, currency, drawer];
    };
  }
}

/** What never comes, and two functions that wait for it, one for the other. */
const delivery = new Promise(() => {});
async function awaitDelivery(order) {
  await delivery;
  return order;
}
async function serve(order) {
  const done = await awaitDelivery(order);
  return done.id;
}

const shop = new Shop();
const anna = new Customer('Anna');
const orders = [shop.take(new Order('o-1', anna, [3, 4.5])), shop.take(new Order('o-2', anna, [12]))];
shop.till = makeTill(100);
shop.waiting = serve(orders[0]);
shop.delivery = delivery;
shop.on('closed', function onClosed() {});
globalThis.shop = shop;
// Stands between the outputs of two commands.
class Divider { text = '===='; }
globalThis.divider = new Divider();

function leaveCore(label, count) {
  capture({ method: 'direct', what: 'core', directory: folder }).then(() => {
    // The thread that opens the other end would keep the process from leaving.
    fs.openSync(path.join(folder, 'fifo'), 'w');
    process.exit();
  });
  return [label, count];
}
function closing(day) {
  return leaveCore(day, orders.length);
}

const server = net.createServer();
const worker = new Worker('setInterval(function tick() {}, 30_000); require("node:worker_threads").parentPort.postMessage("up")', { eval: true, name: 'stockroom' });
worker.once('message', () => server.listen(0, '127.0.0.1', () => {
  setInterval(function checkStock() {}, 60_000);
  setTimeout(function sweep() {}, 120_000).unref();
  // Nobody ever opens the other end.
  fs.open(path.join(folder, 'fifo'), 'r', function onOpened() {});
  closing('monday');
}));
