'use strict'
// The heap of the example service: sessions, orders and a page cache, as a web shop has them.
// Every one of them carries a marker string (markers.js), so that a core can be checked for it.

const { marker } = require('./markers')

const GOODS = ['kettle', 'lamp', 'notebook', 'umbrella', 'tent', 'bicycle pump', 'teapot', 'ladder']
const WORDS = 'light wood brass small quiet north river paper stone green made by hand and sent today'.split(' ')

class Shop {
  sessions = new Map()
  orders = []
  pages = new Map()
  #ids = []

  // Builds sessions, orders and pages until the heap holds `megabytes`.
  fill(megabytes) {
    const limit = megabytes * 1024 * 1024
    for (let n = 0; n % 512 !== 0 || process.memoryUsage().heapUsed < limit; n++) this.#add(n)
    return this
  }

  get counts() {
    return { session: this.sessions.size, order: this.orders.length, page: this.pages.size }
  }

  #add(n) {
    const id = marker('session', n)
    const session = {
      id,
      user: { name: `user ${n}`, mail: `user${n}@shop.example`, roles: n % 100 === 0 ? ['staff', 'buyer'] : ['buyer'] },
      since: new Date(1_760_000_000_000 + n * 1000),
      visits: 0,
      scores: [n + 0.5, n / 3, Math.sqrt(n)],
      cart: [],
    }
    for (let line = 0; line < 4; line++) {
      session.cart.push({ goods: GOODS[(n + line) % GOODS.length], count: (n % 3) + 1, price: ((n * 7 + line) % 900) + 0.99 })
    }
    this.sessions.set(id, session)
    this.#ids.push(id)
    this.orders.push({ number: marker('order', n), session, lines: session.cart.slice(), total: session.cart.reduce((sum, l) => sum + l.count * l.price, 0), note: `leave it at door ${n}` })
    const text = [marker('page', n)]
    for (let word = 0; word < 80; word++) text.push(WORDS[(n * 31 + word * word) % WORDS.length])
    this.pages.set(`/goods/${n}`, text.join(' '))
  }

  // What a request does: read a session, its cart and a page; write one number.
  visit() {
    const n = Math.floor(Math.random() * this.#ids.length)
    const session = this.sessions.get(this.#ids[n])
    session.visits++
    const page = this.pages.get(`/goods/${n}`)
    return { user: session.user.name, visits: session.visits, cart: session.cart, order: this.orders[n].total, words: page.length }
  }
}

module.exports = { Shop }
