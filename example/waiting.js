'use strict'
// Requests that are never answered, and nothing burns: an async function awaits what does not come.
//
//   node example/waiting.js          takes a core of itself with three requests that wait, and ends
//
// The core then answers what each of them waits for: stillcore promises, stillcore handles, stillcore timers.

const http = require('node:http')

const { createCore } = require('..') // in your service: require('stillcore')

// A pool of one connection, which somebody has taken and does not give back.
const pool = { free: [{ id: 1 }], waiting: [] }

async function connection() {
  const free = pool.free.pop()
  return free ?? new Promise((resolve) => pool.waiting.push(resolve))
}

async function findOrder(id) {
  const { id: by } = await connection()
  return { id, by }
}

async function answer(request, response) {
  const order = await findOrder(request.url.slice('/order/'.length))
  response.end(JSON.stringify(order))
}

async function main() {
  await connection() // the one that is not given back
  const server = http.createServer(answer).listen(0, '127.0.0.1', async () => {
    const { port } = server.address()
    for (const id of [4711, 4712, 4713]) http.get({ port, path: `/order/${id}` }).on('error', () => {})
    while (pool.waiting.length < 3) await new Promise((resolve) => setTimeout(resolve, 10))
    console.log(JSON.stringify({ file: await createCore() }))
    process.exit(0)
  })
  setInterval(function reportHealth() {}, 30_000)
}

main()
