// A process that waits for one of everything: handles, requests, timers, promises, modules. It says what it knows of
// them on stdout as one line of JSON, and in the same turn of the event loop leaves a core in the folder of the first argument.
//
//   node busy.cjs FOLDER [--an-argument ...]
'use strict';
const childProcess = require('node:child_process');
const dgram = require('node:dgram');
const dns = require('node:dns');
const fs = require('node:fs');
const http = require('node:http');
const net = require('node:net');
const path = require('node:path');
const { Worker, isMainThread } = require('node:worker_threads');
const { pathToFileURL } = require('node:url');
const { once } = require('node:events');

const folder = process.argv[2];
const keep = {};
globalThis.keep = keep;

async function sockets() {
  keep.server = net.createServer((socket) => { keep.accepted = socket; });
  await once(keep.server.listen(0, '127.0.0.1'), 'listening');
  keep.client = net.connect(keep.server.address().port, '127.0.0.1');
  await once(keep.client, 'connect');
  while (!keep.accepted) await new Promise(setImmediate);
  keep.pipe = net.createServer(() => {});
  await once(keep.pipe.listen(path.join(folder, 'a.socket')), 'listening');
  keep.http = http.createServer((request) => { keep.waits = request; });
  await once(keep.http.listen(0, '127.0.0.1'), 'listening');
  keep.request = http.get({ port: keep.http.address().port, host: '127.0.0.1', path: '/hangs', headers: { 'x-id': 'r-17' } });
  keep.request.on('error', () => {});
  while (!keep.waits) await new Promise((resolve) => setTimeout(resolve, 2));
  keep.udp = dgram.createSocket('udp4');
  keep.udp.bind(0, '127.0.0.1');
  await once(keep.udp, 'listening');
}

function timers() {
  keep.interval = setInterval(function everyMillion() {}, 1e6);
  keep.timeout = setTimeout(function inHalfAMillion() {}, 5e5, 'argument');
  keep.unreferenced = setTimeout(function unreferencedTimer() {}, 4e5).unref();
  keep.many = Array.from({ length: 2000 }, (_, n) => setTimeout(function oneOfMany() {}, 1e6 + 1000 * (n + 1)));
  const cleared = setTimeout(function clearedTimer() {}, 3e5);
  clearTimeout(cleared);
  keep.cleared = cleared;
}

async function modules() {
  const load = (name) => import(pathToFileURL(path.join(__dirname, 'modules', name)).href);
  require('./modules/one.cjs');
  await load('circle-a.mjs');
  await load('throws.mjs').catch(() => {});
  // Not a file of its own here: nothing that reads all files could read it.
  fs.writeFileSync(path.join(folder, 'broken.mjs'), 'export const broken = ;\n');
  await import(pathToFileURL(path.join(folder, 'broken.mjs')).href).catch(() => {});
  keep.neverDone = load('waits.mjs');
  await new Promise((resolve) => setTimeout(resolve, 20));
}

async function waitsForDatabase(query) {
  const answer = await query;
  return answer;
}
async function handlesRequest(query) {
  return { answer: await waitsForDatabase(query) };
}

/** All in one turn: requests that are not done yet, what the process says, and the core. */
function leave() {
  fs.stat(__filename, () => {});
  fs.promises.readFile(__filename);
  fs.open(path.join(folder, 'a.fifo'), 'r', () => {});
  dns.lookup('localhost', () => {});
  keep.immediate = setImmediate(function onImmediate() {});
  const info = {
    version: process.version, pid: process.pid, ppid: process.ppid, argv: process.argv, execArgv: process.execArgv, execPath: process.execPath,
    title: process.title, release: process.release.name, options: process.env.NODE_OPTIONS, uptime: process.uptime(), timeOrigin: performance.timeOrigin, now: Date.now(),
    resources: process.getActiveResourcesInfo(),
    handles: process._getActiveHandles().map((one) => one.constructor.name),
    requests: process._getActiveRequests().map((one) => one.constructor.name),
    ports: { server: keep.server.address().port, http: keep.http.address().port, udp: keep.udp.address().port, client: keep.client.localPort },
    remotePort: keep.accepted.remotePort,
    child: keep.child.pid,
    cache: Object.keys(require.cache),
    fds: { client: keep.client._handle.fd, server: keep.server._handle.fd, file: keep.file.fd },
    worker: keep.worker.threadId,
  };
  fs.writeSync(1, `${JSON.stringify(info)}\n`);
  return require('../..').capture({ method: 'direct', what: 'core', directory: folder });
}

async function main() {
  keep.child = childProcess.spawn('sleep', ['600']);
  keep.file = await fs.promises.open(__filename);
  keep.watcher = fs.watch(folder, () => {});
  process.on('SIGUSR2', () => {});
  keep.worker = new Worker(__filename);
  await once(keep.worker, 'online');
  await sockets();
  timers();
  await modules();
  keep.never = new Promise(() => {});
  keep.handling = handlesRequest(keep.never);
  keep.escape = { text: '\u001b[31mred\u0007\u202e' };
  keep.Strange = Object.assign(Object.create({ constructor: Object.defineProperty(function () {}, 'name', { value: 'Evil\u001b]0;title\u0007' }) }), { n: 1 });
  await leave();
  keep.child.kill();
  // A thread of the pool is in open() of a pipe that nobody writes to: an orderly end would wait for it.
  process.kill(process.pid, 'SIGKILL');
}

class WorkerOnly {}
if (isMainThread) main();
else {
  globalThis.things = Array.from({ length: 7 }, () => new WorkerOnly());
  setInterval(function inWorker() {}, 1e6);
}
