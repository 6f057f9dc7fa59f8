// Every awkward value, on a stack of known frames, with suspended async functions and a busy worker or none; then a
// core of itself is left in the folder named by the first argument, and what this process says of itself on stdout.
//
//   node scenario.cjs FOLDER [direct | kernel | abort | wait] [workers=N]
'use strict';
const path = require('node:path');
const util = require('node:util');
const v8 = require('node:v8');
const net = require('node:net');
const { Worker, isMainThread, threadId, workerData } = require('node:worker_threads');

const [folder, how = 'direct'] = process.argv.slice(2);
const workers = Number(process.argv.find((one) => one.startsWith('workers='))?.slice(8) ?? 0);

class PlantedPoint {
  #secret = 'private field';
  constructor(x, y) {
    this.x = x;
    this.y = y;
  }
  get sum() { return this.x + this.y; }
  secret() { return this.#secret; }
}
class PlantedChild extends PlantedPoint {
  constructor(n) {
    super(n, -n);
    this.label = `child ${n}`;
  }
}
function PlantedOld(name) { this.name = name; }
PlantedOld.prototype.greet = function greet() { return `hello ${this.name}`; };

function makeValues() {
  const cyclic = { name: 'cyclic' };
  cyclic.self = cyclic;
  const dictionary = {};
  for (let n = 0; n < 2000; n++) dictionary[`key${n}`] = n;
  for (let n = 0; n < 1990; n++) delete dictionary[`key${n}`];
  const holey = [1, , 3];
  holey[10] = 'ten';
  const sparse = [];
  sparse[4_000_000] = 'far';
  sparse[7] = 'near';
  const withGetter = { plain: 1, get computed() { return 2; }, set computed(value) {}, get only() { return 3; } };
  let deep = 'x';
  for (let n = 0; n < 20000; n++) deep = deep + 'y';
  const base = 'The quick brown fox jumps over the lazy dog, again and again.';
  const error = new TypeError('it went wrong', { cause: new Error('the cause') });
  error.code = 'E_WRONG';
  error.stack;
  const unread = new RangeError('nobody read its stack');
  const shaped = { a: 1 };
  Object.defineProperty(shaped, 'hidden', { value: 'not enumerable', enumerable: false });
  const generator = (function* numbers(from) { yield from; yield from + 1; })(40);
  generator.next();
  const bag = new Map([['one', 1], [{ key: 'object' }, [1, 2]], ['gone', 0], [NaN, 'nan']]);
  bag.delete('gone');
  const weakKey = { weak: 'key' };
  const frozen = Object.freeze(['frozen', 1]);
  const rejected = Promise.reject(new Error('rejected on purpose'));
  rejected.catch(() => {});
  const target = { inside: 'proxy' };
  const sloppy = (function () { return arguments; })('first', 2);
  const strict = (function () { 'use strict'; return arguments; })('s', 't');
  const buffer = Buffer.from('a Buffer of bytes');
  return {
    undefinedValue: undefined,
    nullValue: null,
    yes: true,
    no: false,
    smi: -42,
    big: 2 ** 31,
    double: 3.25,
    negativeZero: -0,
    nan: NaN,
    infinity: -Infinity,
    tiny: 5e-324,
    large: 1.7976931348623157e308,
    bigint: 123456789012345678901234567890n,
    negativeBigint: -(2n ** 64n),
    zeroBigint: 0n,
    empty: '',
    oneByte: 'caf\u00e9',
    twoByte: 'snow \u2603 and \ud83d\ude00',
    quoted: 'it\'s "quoted"\nand broken\t\u0000',
    cons: deep,
    sliced: base.slice(4, 40),
    long: 'ab'.repeat(300),
    symbol: Symbol('a symbol'),
    bareSymbol: Symbol(),
    registered: Symbol.for('registered'),
    wellKnown: Symbol.iterator,
    array: [1, 'two', [3]],
    doubles: [1.5, 2.5, -0],
    holeyDoubles: [1.5, , 2.5],
    holey,
    sparse,
    emptyArray: [],
    frozen,
    object: { a: 1, b: 'two', c: { d: { e: { f: 'deep' } } } },
    emptyObject: {},
    nullPrototype: Object.assign(Object.create(null), { lone: true }),
    indexed: { 0: 'zero', 5: 'five', name: 'mixed' },
    dictionary,
    cyclic,
    withGetter,
    shaped,
    symbolKey: { [Symbol('key')]: 'by symbol', 'a-b': 1 },
    point: new PlantedPoint(3, 4),
    child: new PlantedChild(7),
    old: new PlantedOld('old style'),
    map: bag,
    set: new Set(['a', 1, { in: 'set' }]),
    weakMap: new WeakMap([[weakKey, 'weak value']]),
    weakSet: new WeakSet([weakKey]),
    weakRef: new WeakRef(weakKey),
    weakKey,
    date: new Date(1700000000123),
    badDate: new Date(NaN),
    regexp: /a(b+)c\/[d]/giu,
    error,
    unread,
    arrayBuffer: new Uint8Array([1, 2, 3, 4]).buffer,
    sharedBuffer: new SharedArrayBuffer(8),
    buffer,
    uint8: new Uint8Array([1, 2, 255]),
    int16: new Int16Array([-1, 300]),
    float64: new Float64Array([1.5, -2.25]),
    float32: new Float32Array([0.5]),
    bigUint64: new BigUint64Array([2n ** 63n]),
    clamped: new Uint8ClampedArray([300, 5]),
    dataView: new DataView(new ArrayBuffer(4), 1, 2),
    resolved: Promise.resolve('done'),
    rejected,
    pending: new Promise(() => {}),
    proxy: new Proxy(target, { get: (object, key) => object[key] }),
    revoked: (() => { const { proxy, revoke } = Proxy.revocable({}, {}); revoke(); return proxy; })(),
    generator,
    arrow: () => 1,
    named: function namedFunction(a, b) { return a + b; },
    asyncFunction: async function asyncNamed() {},
    generatorFunction: function* generatorNamed() {},
    classValue: PlantedChild,
    bound: PlantedOld.prototype.greet.bind(new PlantedOld('bound'), 'extra'),
    builtin: Math.max,
    method: { short() { return 1; } }.short,
    boxedNumber: Object(7),
    boxedString: Object('boxed'),
    boxedBoolean: Object(true),
    boxedSymbol: Object(Symbol('boxed symbol')),
    boxedBigint: Object(9n),
    sloppy,
    strict,
    url: new URL('https://user@example.com:8080/path?q=1#frag'),
    mapIterator: bag[Symbol.iterator](),
    arrayIterator: [1, 2][Symbol.iterator](),
    globalThis: globalThis,
  };
}

class ScenarioHolder {
  constructor() {
    this.values = makeValues();
    this.points = Array.from({ length: 1234 }, (_, n) => new PlantedPoint(n, n * 2));
    this.children = Array.from({ length: 321 }, (_, n) => new PlantedChild(n));
    this.olds = Array.from({ length: 77 }, (_, n) => new PlantedOld(`old ${n}`));
  }
}

function makeClosure(captured) {
  const count = { times: captured.length };
  return function plantedClosure(extra) {
    return [captured, count, extra];
  };
}

async function innermostAwait(never) {
  const local = 'held across the await';
  await never;
  return local;
}
async function middleAwait(never) {
  return [await innermostAwait(never)];
}
async function outermostAwait(never) {
  try {
    await middleAwait(never);
  } finally {
    process.exitCode = 3;
  }
}
async function awaitAll(never) {
  await Promise.all([innermostAwait(never), 1]);
}

let keep;
function hotLoop(callback, n) {
  let sum = 0;
  for (let i = 0; i < n; i++) sum += inlinedAdd(i, callback, n);
  return sum;
}
function inlinedAdd(i, callback, n) {
  if (i === n - 1) return callback(i);
  return i & 3;
}

function said() {
  const properties = {};
  for (const [name, value] of Object.entries(keep.values)) {
    if (name === 'globalThis') continue;
    properties[name] = util.inspect(value, { depth: 0, breakLength: Infinity, maxStringLength: 100 });
  }
  return {
    pid: process.pid,
    version: process.version,
    v8: process.versions.v8,
    argv: process.argv,
    execPath: process.execPath,
    threadId,
    spaces: v8.getHeapSpaceStatistics(),
    heap: v8.getHeapStatistics(),
    memory: process.memoryUsage(),
    properties,
    modules: Object.keys(require.cache),
    counts: { PlantedPoint: 1235, PlantedChild: 322, PlantedOld: 79 },
  };
}

/** The innermost frame that the core shows: `this` and arguments are known. */
function leaveCore(label, number, object) {
  const account = said();
  Error.stackTraceLimit = 100;
  account.stack = new Error('here').stack;
  console.log(JSON.stringify(account));
  if (how === 'abort') process.abort();
  if (how === 'wait') return Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
  const capture = require(path.resolve(__dirname, '../..')).capture;
  return capture({ method: how === 'kernel' ? 'kernel' : 'direct', what: 'core', directory: folder });
}

class Service {
  constructor(name) { this.name = name; }
  handle(request) {
    return [3, 1, 2].map((n) => (n === 1 ? this.finish(request) : n));
  }
  finish(request) {
    // Hot enough to be optimised, with the callee inlined.
    for (let n = 0; n < 300; n++) hotLoop((i) => i, 1000);
    let result;
    hotLoop(() => { result = leaveCore('label', 42, request); return 1; }, 1000);
    return result;
  }
}

function main() {
  keep = new ScenarioHolder();
  globalThis.keep = keep;
  keep.closure = makeClosure('captured string');
  const never = new Promise(() => {});
  keep.never = never; // else all that waits for it is garbage
  keep.awaiting = [outermostAwait(never), awaitAll(never)];
  keep.interval = setInterval(function tick() {}, 1e6);
  keep.timeout = setTimeout(function later() {}, 5e5, 'argument');
  keep.immediate = setImmediate(() => {});
  const server = net.createServer(() => {}).listen(0, '127.0.0.1', async () => {
    const started = [];
    for (let n = 0; n < workers; n++) {
      started.push(new Promise((resolve) => {
        const worker = new Worker(__filename, { workerData: { n }, argv: [folder] });
        worker.once('message', resolve);
      }));
    }
    await Promise.all(started);
    setTimeout(async () => {
      await new Service('the service').handle({ url: '/broken', headers: { host: 'x' } })[1];
      process.exit(0);
    }, 50);
  });
  keep.server = server;
}

class WorkerThing {
  constructor(n) { this.n = n; }
}
function inWorker() {
  globalThis.things = Array.from({ length: 100 * (workerData.n + 1) }, (_, n) => new WorkerThing(n));
  const { parentPort } = require('node:worker_threads');
  parentPort.postMessage('ready');
  setTimeout(function sleepsForever() {
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
  }, 5);
}

if (isMainThread) main();
else inWorker();
