'use strict'
// An HTTP service that can leave a whole core of itself behind while it goes on serving.
//
//   STILLCORE_ADMIN_TOKEN=secret node example/server.js
//   -> {"pid":4711,"port":8080,"adminPort":8081,"markers":{"session":31744,...}}
//
//   A="Authorization: Bearer secret"
//   curl -i -X POST -H "$A" localhost:8081/core          # 202, Location: /core/<id>
//   curl -H "$A" localhost:8081/core/<id>                # {"state":"done","name":"core_....tar.gz",...}
//   curl -fOJ -H "$A" localhost:8081/core/<id>/archive   # the archive; deleted there once it was sent
//
// In a pod the same goes through `kubectl port-forward pod/NAME 8081`: `kubectl cp` would need a tar
// in the image, and a distroless image has none.
//
// Environment
//   HOST, PORT              where the service listens: 127.0.0.1 and 8080; 0 takes a free port
//   ADMIN_PORT              8081, always on loopback; 0 takes a free one
//   STILLCORE_ADMIN_TOKEN   without it there is no admin server
//   STILLCORE_DIRECTORY     where archives are written (default: the working folder)
//   HEAP_MB                 how much heap to build, 64; above about 2000 also give --max-old-space-size

const { createServer } = require('node:http')

const { createAdmin } = require('./admin')
const { Pauses } = require('./pauses')
const { Shop } = require('./shop')

const number = (name, otherwise) => (process.env[name] ? Number(process.env[name]) : otherwise)
const { STILLCORE_ADMIN_TOKEN: token } = process.env

const shop = new Shop().fill(number('HEAP_MB', 64))
const pauses = new Pauses()
let requests = 0

const service = createServer((request, response) => {
  if (request.url === '/healthz') return response.end('ok\n')
  requests++
  response.setHeader('Content-Type', 'application/json')
  response.end(JSON.stringify(shop.visit()))
})

const stats = {
  read: () => ({ longestPauseMs: pauses.longest, requests, memory: process.memoryUsage() }),
  reset() {
    pauses.reset()
    requests = 0
  },
}
const admin = token ? createAdmin({ token, stats }) : null

const listen = (server, port, host) => new Promise((resolve, reject) => {
  server.once('error', reject)
  server.listen(port, host, () => resolve(server.address().port))
})

async function main() {
  const port = await listen(service, number('PORT', 8080), process.env.HOST || '127.0.0.1')
  const adminPort = admin ? await listen(admin, number('ADMIN_PORT', 8081), '127.0.0.1') : null
  console.log(JSON.stringify({ pid: process.pid, port, adminPort, markers: shop.counts }))
}

// Stops taking requests, gives those that run a moment, and takes the running capture down with it.
async function stop() {
  service.close()
  service.closeIdleConnections()
  admin?.close()
  setTimeout(() => process.exit(0), 2000).unref()
  await admin?.abort()
  admin?.closeAllConnections()
  pauses.stop()
}
process.once('SIGTERM', stop)
process.once('SIGINT', stop)

main().catch((error) => {
  console.error(error)
  process.exit(1)
})
