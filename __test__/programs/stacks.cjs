// Stacks of every kind. Each scenario below comes to leave(), which notes the trace that V8 prints there and takes a core
// (or dies); the notes go to stdout as JSON: [{ name, stack, core }].
//
//   node stacks.cjs FOLDER HOW [SCENARIO...]     HOW: direct | kernel | abort | segv | throw | wait | go
'use strict';
const fs = require('node:fs');
const path = require('node:path');
const vm = require('node:vm');
const wasm = require('./wasm.cjs');

const [folder, how = 'direct', ...only] = process.argv.slice(2);
Error.stackTraceLimit = Infinity;

const notes = [];
let current;
let captures;

/** The innermost frame that is compared: what is above it is the capture's. */
function leave() {
  if (notes.at(-1)?.name === current) return 7; // once for each scenario
  const note = { name: current, stack: new Error('here').stack };
  notes.push(note);
  if (how !== 'direct' && how !== 'kernel') {
    fs.writeSync(1, `${JSON.stringify(notes)}\n`);
    if (how === 'go') return 7;
    if (how === 'abort') process.abort();
    if (how === 'segv') process.kill(process.pid, 'SIGSEGV');
    if (how === 'throw') throw new Error('uncaught');
    return Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 60_000);
  }
  captures = require('../..').capture({ method: how, what: 'core', directory: folder })
    .then((result) => { note.core = result.path ?? result; });
  return 7;
}

class Service {
  #hidden = 1;
  constructor(name) { this.name = name; }
  handle(request) { return this.finish(request, 42); }
  finish(request, number) { return leave(request, number); }
  get size() { return leave(); }
  set size(value) { leave(value); }
  static create() { return leave(); }
  static #secret() { return leave(); }
  static callSecret() { return Service.#secret(); }
  #own() { return leave(); }
  callOwn() { return this.#own(); }
  [Symbol.iterator]() { return leave(); }
  'odd name'() { return leave(); }
  async later() { await null; return leave(); }
}
class Special extends Service {
  constructor() { super('special'); this.value = leave(); }
  handle(request) { return super.handle(request); }
  field = (() => 1)();
}
class WithField { field = leave(); }
class WithStatic { static make() { return class { static value = leave(); }; } }
class Tagged {
  get [Symbol.toStringTag]() { return 'NotThis'; }
  run() { return leave(); }
}
Object.defineProperty(Tagged.prototype, Symbol.toStringTag, { value: 'TaggedThing' });
function Old() { this.made = leave(); }
Old.prototype.greet = function () { return leave(); };
Old.prototype.named = function someName() { return leave(); };
Old.aStatic = function () { return leave(); };

/** Scenarios that end where they begin: in the caller's tick. */
const sync = {
  constructors() { return [new Special(), new Old(), Reflect.construct(Special, [])][0]; },
  oldConstructor() { return new Old(); },
  reflectConstruct() { return Reflect.construct(Special, []); },
  methods() { return new Service('a').handle({ url: '/' }); },
  inherited() { const special = Object.create(Special.prototype); return special.handle(1); },
  fields() { return new WithField(); },
  staticFields() { return WithStatic.make(); },
  getter() { return new Service('a').size; },
  setter() { new Service('a').size = 5; },
  statics() { return Service.create(); },
  functionStatics() { return Old.aStatic(); },
  privates() { return new Service('a').callOwn(); },
  staticPrivates() { return Service.callSecret(); },
  symbols() { return new Service('a')[Symbol.iterator](); },
  oddNames() { return new Service('a')['odd name'](); },
  aliases() { const object = { alias: new Service('a').finish }; return object.alias(1); },
  twice() { const f = () => leave(); const g = function () { return f(); }; const object = { one: g, two: g }; return object.two(); },
  inferred() { return Old.prototype.greet.call(Object.create(Old.prototype)); },
  named() { return Object.create(Old.prototype).named(); },
  toStringTags() { return new Tagged().run(); },
  nullPrototype() { return Object.assign(Object.create(null), { run() { return leave(); } }).run(); },
  literal() { return { run() { return leave(); } }.run(); },
  renamed() { const f = function original() { return leave(); }; Object.defineProperty(f, 'name', { value: 'given' }); return f(); },
  primitives() { Object.assign(Number.prototype, { out() { return leave(); } }); return (5).out(); },
  strings() { Object.assign(String.prototype, { out() { return leave(); } }); return 'text'.out(); },
  booleans() { Object.assign(Boolean.prototype, { out() { return leave(); } }); return true.out(); },
  anonymous() { return (() => (function () { return (() => leave())(); })())(); },
  immediately() { return [function () { return leave(); }][0](); },
  called() { return (function called() { return leave(this); }).call({ a: 1 }, 2); },
  applied() { return (function applied() { return leave(this); }).apply(new Service('b'), [1, 2]); },
  bound() { return (function bound() { return leave(this); }).bind(new Map())(); },
  evaluated() { return eval('leave()'); },
  evaluatedFunction() { return eval('(function inEval() { return leave(); })')(); },
  evaluatedTwice() { return eval('1;\n eval("2; leave()")'); },
  evaluatedElsewhere() { globalThis.leave = leave; return (0, eval)('globalThis.leave()'); },
  evaluatedNamed() { return eval('leave()\n//# sourceURL=named-by-url.js'); },
  newFunction() { return new Function('leave', 'return leave()')(leave); },
  script() { globalThis.leave = leave; return vm.runInThisContext('\n  leave()', { filename: 'a-script.js', lineOffset: 10, columnOffset: 3 }); },
  otherContext() { return vm.runInNewContext('function inside() { return leave(); }\ninside()', { leave }, { filename: 'other.js' }); },
  map() { return [3, 1].map((n) => leave(n)); },
  forEach() { return [3, 1].forEach(function each(n) { leave(n); }); },
  sort() { return [3, 1, 2].sort((a, b) => leave(a, b)); },
  reduce() { return [3, 1].reduce((a, b) => leave(a, b)); },
  from() { return Array.from({ length: 2 }, () => leave()); },
  flatMap() { return [1].flatMap((n) => leave(n)); },
  findLast() { return [1].findLast((n) => leave(n)); },
  typedArrays() { return new Uint8Array(2).map((n) => leave(n)); },
  maps() { return new Map([[1, 2]]).forEach((value, key) => leave(value, key)); },
  sets() { return new Set([1]).forEach((value) => leave(value)); },
  replace() { return 'abc'.replace(/b/g, (match) => leave(match)); },
  replaceString() { return 'abc'.replace('b', (match) => leave(match)); },
  stringify() { return JSON.stringify({ a: { toJSON() { return leave(); } } }); },
  replacer() { return JSON.stringify({ a: 1 }, function replacer(key, value) { return key ? leave() : value; }); },
  reviver() { return JSON.parse('{"a":1}', (key, value) => leave(key, value)); },
  reflect() { return Reflect.apply(leave, undefined, [1]); },
  reflectGet() { return Reflect.get({ get x() { return leave(); } }, 'x'); },
  proxyGet() { return new Proxy({}, { get(target, key) { return key === 'x' ? leave() : undefined; } }).x; },
  proxyApply() { return new Proxy(function f() {}, { apply() { return leave(); } })(); },
  proxyConstruct() { return new Proxy(class {}, { construct() { leave(); return {}; } }); },
  proxyConstructed() { return new (new Proxy(class {}, { construct() { leave(); return {}; } }))(); },
  proxyMethod() { return new Proxy(new Service('p'), {}).handle(1); },
  generators() { function* numbers() { yield 1; yield leave(); } return [...numbers()]; },
  next() { function* numbers() { yield 1; yield leave(); } const it = numbers(); it.next(); return it.next(); },
  delegated() { function* inner() { yield leave(); } function* outer() { yield* inner(); } return outer().next(); },
  iterator() { for (const x of { [Symbol.iterator]: () => ({ next() { leave(); return { done: true }; } }) }) return x; },
  spread() { return Math.max(...{ * [Symbol.iterator]() { yield leave(); } }); },
  toPrimitive() { return `${{ [Symbol.toPrimitive](hint) { return leave(hint); } }}`; },
  valueOf() { return +{ valueOf() { return leave(); } }; },
  hasInstance() { return {} instanceof { [Symbol.hasInstance]() { return leave(); } }; },
  accessors() { return Object.assign({}, { get a() { return leave(); } }); },
  promised() { return new Promise((resolve) => resolve(leave())); },
  template() { const tag = (strings, ...values) => leave(strings, values); return tag`a${1}b`; },
  defaults() { function withDefault(a = leave()) { return a; } return withDefault(); },
  indexOf() { return 'abc'.indexOf({ toString() { return leave(); } }); },
  dataView() { return new DataView(new ArrayBuffer(8)).getInt8({ valueOf() { leave(); return 0; } }); },
  events() { const { EventEmitter } = require('node:events'); return new EventEmitter().on('x', function listener() { leave(this); }).emit('x', 1); },
  staticBlock() { return class { static { leave(); } }; },
  computedKey() { return { [{ toString() { return leave(); } }]: 1 }; },
  superMethod() { return { __proto__: { run() { return leave(); } }, run() { return super.run(); } }.run(); },
  superGetter() { return { __proto__: { get x() { return leave(); } }, get y() { return super.x; } }.y; },
  newTarget() { return new (class Base { constructor() { this.made = leave(new.target); } })(); },
  derived() { class A { constructor() { leave(); } } class B extends A {} class C extends B {} return new C(); },
  builtinSubclass() { return new (class List extends Array { constructor(...all) { super(...all); leave(); } })(3); },
  species() { return new (class List extends Array { static get [Symbol.species]() { leave(); return Array; } })(3).map((n) => n); },
  accessorStatic() { return class Held { static get made() { return leave(); } }.made; },
  privateGetter() { return new (class { get #x() { return leave(); } run() { return this.#x; } })().run(); },
  autoInstance() { return new (class { handler = () => leave(); run() { return this.handler(); } })().run(); },
  proxySet() { new Proxy({}, { set() { leave(); return true; } }).x = 1; },
  proxyHas() { return 'x' in new Proxy({}, { has() { leave(); return true; } }); },
  proxyDelete() { return delete new Proxy({}, { deleteProperty() { leave(); return true; } }).x; },
  proxyKeys() { return Object.keys(new Proxy({}, { ownKeys() { leave(); return []; } })); },
  proxyForIn() { for (const key in new Proxy({}, { ownKeys() { leave(); return []; } })) return key; },
  proxyPrototype() { return Object.getPrototypeOf(new Proxy({}, { getPrototypeOf() { leave(); return null; } })); },
  proxyDefine() { return Object.defineProperty(new Proxy({}, { defineProperty() { leave(); return true; } }), 'x', { value: 1 }); },
  proxyDescriptor() { return Object.getOwnPropertyDescriptor(new Proxy({}, { getOwnPropertyDescriptor() { leave(); } }), 'x'); },
  proxyOfProxy() { return new Proxy(new Proxy({}, { get() { return leave(); } }), {}).x; },
  proxyClass() { return new (class Traps { get(target, key) { return leave(key); } proxy() { return new Proxy({}, this); } })().proxy().x; },
  reflectSet() { return Reflect.set({ set x(value) { leave(value); } }, 'x', 1); },
  reflectOwnKeys() { return Reflect.ownKeys(new Proxy({}, { ownKeys() { leave(); return []; } })); },
  reflectTarget() { return Reflect.construct(function Made() { leave(); }, [], Array); },
  every() { return [1].every((n) => leave(n)); },
  filter() { return [1, 2].filter(function kept(n) { return leave(n); }); },
  toSorted() { return [3, 1].toSorted?.((a, b) => leave(a, b)) ?? leave(); },
  sortTyped() { return new Float64Array([3, 1]).sort((a, b) => leave(a, b)); },
  sortByMethod() { return [3, 1].sort(new (class Order { compare = (a, b) => leave(a, b); })().compare); },
  fromIterable() { return Array.from(new Set([1]), function (n) { return leave(n); }); },
  grouped() { return Object.groupBy?.([1], (n) => leave(n)) ?? leave(); },
  iteratorHelpers() { const { Iterator } = globalThis; return Iterator?.from ? [...Iterator.from([1]).map((n) => leave(n)).filter(Boolean)] : leave(); },
  regexpExec() { const re = /a/; re.exec = function exec() { leave(); return null; }; return re.test('a'); },
  regexpReplace() { return 'x'.replace({ [Symbol.replace](string) { return leave(string); } }, ''); },
  regexpSplit() { return 'x'.split({ [Symbol.split]() { return leave(); } }); },
  replaceAll() { return 'aa'.replaceAll('a', function each() { return leave(); }); },
  replaceGroups() { return '2026-11'.replace(/(?<year>\d+)-(\d+)/, (...all) => leave(all)); },
  nestedReviver() { return JSON.parse('{"a":{"b":[1]}}', function revive(key, value) { return key === '0' ? leave() : value; }); },
  toJson() { return JSON.stringify([new (class Money { toJSON() { return leave(); } })()]); },
  stringifyGetter() { return JSON.stringify({ get a() { return leave(); } }); },
  generatorReturn() { const it = (function* g() { try { yield 1; } finally { leave(); } })(); it.next(); return it.return(2); },
  generatorThrow() { const it = (function* g() { try { yield 1; } catch { leave(); } })(); it.next(); return it.throw(new Error('in')); },
  destructured() { const [x] = { * [Symbol.iterator]() { yield leave(); } }; return x; },
  destructuredDefault() { const { x = leave() } = {}; return x; },
  restArguments() { return ((...all) => leave(...all))(1, 2, 3); },
  withStatement() { return new Function('object', 'with (object) { return run(); }')({ run() { return leave(); } }); },
  evalInMethod() { return new (class Doer { run() { return eval('(() => leave(this))()'); } })().run(); },
  evalClass() { return eval('new (class InEval { constructor() { leave(); } })()'); },
  functionInFunction() { return new Function('leave', 'return (function inner() { return new Function("leave", "\\n  return leave()")(leave); })()')(leave); },
  generatorFunction() { const { constructor: GeneratorFunction } = function* () {}.constructor.prototype; return new GeneratorFunction('leave', 'yield leave()')(leave).next(); },
  inContext() { const context = vm.createContext({ leave }); vm.runInContext('class Far { run() { return [1].map(() => leave()); } }', context, 'far.js'); return vm.runInContext('new Far().run()', context, { filename: 'call.js', lineOffset: 4 }); },
  scriptObject() { return new vm.Script('(function scripted() { return leave(); })()', { filename: '/not/there.js' }).runInNewContext({ leave }); },
  compiled() { return vm.compileFunction('return leave(a)', ['leave', 'a'], { filename: 'compiled.js' })(leave, 1); },
  unnamedScript() { globalThis.leave = leave; return vm.runInThisContext('leave()'); },
  required() { const { Module } = require('node:module'); const module = new Module('/virtual/made.cjs'); return module._compile('exports.run = function run() { return leave(); };\nexports.run();', '/virtual/made.cjs'); },
  eventTarget() { const target = new EventTarget(); target.addEventListener('x', function heard() { leave(); }); return target.dispatchEvent(new Event('x')); },
  eventObject() { const target = new EventTarget(); target.addEventListener('x', { handleEvent() { leave(); } }); return target.dispatchEvent(new Event('x')); },
  storage() { const { AsyncLocalStorage } = require('node:async_hooks'); return new AsyncLocalStorage().run({}, () => leave()); },
  transform() { const { Transform } = require('node:stream'); new Transform({ transform(chunk, encoding, done) { leave(); done(null, chunk); } }).write('x'); },
  symbolMethod() { return { [Symbol.for('x')]() { return leave(); } }[Symbol.for('x')](); },
  symbolFunction() { const key = Symbol('held'); const object = { [key]: () => leave() }; return object[key](); },
  numberKey() { return { 5() { return leave(); } }[5](); },
  arrayMember() { const list = [() => leave()]; return list[0](); },
  nestedObject() { const app = { routes: { users: { get() { return leave(); } } } }; return app.routes.users.get(); },
  assigned() { const app = {}; app.handler = function () { return leave(); }; return app.handler(); },
  prototypeAssigned() { function Shop() {} Shop.prototype.sell = () => leave(); return new Shop().sell(); },
  arrowInMethod() { return new (class Outer { run() { return (() => (() => leave(this))())(); } })().run(); },
  callChain() { return Function.prototype.call.call(function chained() { return leave(); }, 1); },
  applyBuiltin() { return Array.prototype.map.call('ab', (c) => leave(c)); },
  bigints() { Object.assign(BigInt.prototype, { out() { return leave(); } }); return 5n.out(); },
  symbolsOwn() { Object.assign(Symbol.prototype, { out() { return leave(); } }); return Symbol('s').out(); },
  strictPrimitive() { Object.assign(Number.prototype, { strictly() { 'use strict'; return leave(this); } }); return (6).strictly(); },
  frozen() { return Object.freeze({ run() { return leave(); } }).run(); },
  date() { const d = new Date(0); d.toISOString = function iso() { return leave(); }; return JSON.stringify(d); },
  compareThan() { return { valueOf() { return leave(); } } < 3; },
  templateValue() { return `${{ toString() { return leave(); } }}`; },
  optionalCall() { const object = { run: (n) => leave(n) }; return object?.run?.(1); },
  comma() { const object = { run() { return leave(); } }; return (0, object.run)(); },
  longLine() { /* a column beyond 255 */                                                                                                                                                                                                                                              return leave(); },
  unicode() { const 名前 = () => leave(); return { 'é': 名前 }['é'](); },
  many() { return leave(...Array(3000).keys()); },
  deep() { const down = function down(n) { return n === 0 ? leave() : down(n - 1) + 1; }; return down(7000); },
};

/** Hot enough that the compilers inline: the callee leaves in a later call. */
let leaves = false;
class Point {
  constructor(x, y) { this.x = x; this.y = y; this.done = maybe(x); }
  add(other) { return new Point(this.x + other.x, this.y + other.y); }
  sum(extra) { return this.twice(extra) + this.x; }
  twice(extra) { return maybe(extra) * 2 + this.y; }
}
function maybe(x) { return leaves ? leave(x) : x; }
function addAll(a, b, c) { const held = { a, b }; return maybe(held.a) + c; }
function fewer(a, b, c, d) { return maybe(a) + (b ?? 0) + (c ?? 0) + (d ?? 0); }
function rest(...all) { return maybe(all.length); }
function hot(call) {
  leaves = false;
  for (let n = 0; n < 60_000; n++) call(n, n + 0.5);
  leaves = true;
  try { return call(1, 2.5); } finally { leaves = false; }
}
const optimised = {
  inlined() { return hot(function outer(n, d) { return addAll(n, d, 3) + 1; }); },
  inlinedMethods() { const point = new Point(1, 2); return hot(function outer(n) { return point.sum(n); }); },
  inlinedConstructor() { return hot(function outer(n, d) { return new Point(n, d).x; }); },
  inlinedChain() { const one = new Point(1, 1); return hot(function outer(n, d) { return new Point(n, d).add(one).y; }); },
  inlinedMap() { const list = [1, 2, 3]; return hot(function outer(n) { return list.map((x) => maybe(x + n)); }); },
  inlinedForEach() { const list = [1, 2, 3]; return hot(function outer(n) { list.forEach((x) => { maybe(x + n); }); }); },
  inlinedReduce() { const list = [1, 2, 3]; return hot(function outer() { return list.reduce((a, b) => a + maybe(b)); }); },
  inlinedFewer() { return hot(function outer(n) { return fewer(n, 1) + fewer(n, 1, 2, 3, 4, 5); }); },
  inlinedRest() { return hot(function outer(n, d) { return rest(n, d, 'x'); }); },
  inlinedGetter() { const object = { get value() { return maybe(5); } }; return hot(function outer() { return object.value; }); },
  inlinedApply() { return hot(function outer(...all) { return addAll.apply(null, all); }); },
  inlinedCall() { const point = new Point(3, 4); return hot(function outer(n) { return point.twice.call(point, n); }); },
  inlinedClosure() { return hot(function outer(n) { const inner = (x) => maybe(x + n); return inner(n); }); },
  loop() { // The loop itself becomes hot: its code is entered in the middle.
    leaves = false;
    let sum = 0;
    for (let n = 0; n <= 300_000; n++) { leaves = n === 300_000; sum += addAll(n, 1, 2); }
    leaves = false;
    return sum;
  },
};

const pause = () => new Promise((resolve) => setImmediate(resolve));
async function inner() { await pause(); return leave(); }
async function middle() { const value = await inner(); return value + 1; }
async function* numbers() { yield 1; await pause(); yield leave(); }
/** Scenarios that leave in a later tick. */
const asynchronous = {
  async awaits() { return await middle(); },
  async methods() { return await new Service('later').later(); },
  async arrow() { return await (async () => { await pause(); return leave(); })(); },
  async all() { return await Promise.all([1, middle(), pause()]); },
  async allSettled() { return await Promise.allSettled([pause(), middle()]); },
  async any() { return await Promise.any([middle()]); },
  async race() { return await Promise.race([middle(), new Promise(() => {})]); },
  async forAwait() { for await (const n of numbers()) if (n > 1) return n; },
  async generatorNext() { const it = numbers(); await it.next(); return await it.next(); },
  async forAwaitOver() { async function* over() { for await (const n of numbers()) yield n * 2; } for await (const n of over()) if (n > 2) return n; },
  async thenChain() { return await pause().then(() => middle()).then((x) => x).finally(() => {}); },
  async thenCallback() { return await pause().then(function callback() { return leave(); }).then((x) => x); },
  async returned() { return await (async () => middle())(); },
  async rejected() { try { await (async () => { await pause(); throw new Error('no'); })(); } catch { return leave(); } },
  async nested() { return await Promise.all([(async () => (await Promise.all([middle()]))[0])()]); },
  async thenable() { return await { then(resolve) { resolve(leave()); } }; },
  async microtask() { return await new Promise((resolve) => queueMicrotask(() => resolve(leave()))); },
  async tick() { return await new Promise((resolve) => process.nextTick(() => resolve(leave()))); },
  async timer() { return await new Promise((resolve) => setTimeout(function timer() { resolve(leave()); }, 1)); },
  async immediate() { return await new Promise((resolve) => setImmediate(() => resolve(leave()))); },
  async interval() { return await new Promise((resolve) => { const timer = setInterval(function interval() { clearInterval(timer); resolve(leave()); }, 1); }); },
  async timerPromise() { await require('node:timers/promises').setTimeout(1); return leave(); },
  async fileCallback() { const { readFile } = require('node:fs/promises'); await readFile(__filename); return leave(); },
  async event() { const { once, EventEmitter } = require('node:events'); const emitter = new EventEmitter(); setImmediate(() => emitter.emit('x', 1)); await once(emitter, 'x'); return leave(); },
  async stream() { const { Readable } = require('node:stream'); for await (const chunk of Readable.from(['a'])) leave(chunk); },
  async pipeline() { const { pipeline } = require('node:stream/promises'); await pipeline(['a'], async function* (source) { for await (const chunk of source) yield leave(chunk) && 'x'; }, async (source) => { for await (const x of source) if (!x) return; }); },
  async storage() { const { AsyncLocalStorage } = require('node:async_hooks'); return await new AsyncLocalStorage().run({}, async () => { await pause(); return leave(); }); },
  async finalized() { try { await pause(); return 1; } finally { leave(); } },
  async thenFinally() { return await pause().finally(function last() { leave(); }); },
  async caught() { return await Promise.reject(new Error('no')).catch((error) => leave(error)); },
  async subclass() { class Lazy extends Promise { then(...all) { return super.then(...all); } } return await new Lazy((resolve) => setImmediate(resolve)).then(() => leave()); },
  async withResolvers() { let done; const promise = new Promise((resolve) => { done = resolve; }); setImmediate(() => done(1)); await promise; return leave(); },
  async staticMethod() { return await (class Jobs { static async run() { await null; return leave(); } }).run(); },
  async privateMethod() { return await new (class Jobs { async #run() { await null; return leave(); } run() { return this.#run(); } })().run(); },
  async objectMethod() { return await { async run() { await null; return leave(); } }.run(); },
  async generatorMethod() { const it = { async* each() { await null; yield leave(); } }.each(); return await it.next(); },
  async generatorReturn() { const it = (async function* g() { try { yield 1; } finally { await null; leave(); } })(); await it.next(); return await it.return(2); },
  async generatorQueue() { const it = (async function* g() { yield 1; await pause(); yield leave(); })(); return await Promise.all([it.next(), it.next(), it.next()]); },
  async delegatedGenerator() { async function* outer() { yield* numbers(); } const it = outer(); await it.next(); return await it.next(); },
  async asyncIterator() { for await (const x of { [Symbol.asyncIterator]() { return { async next() { await null; return { done: true, value: leave() }; } }; } }) return x; },
  async forAwaitSync() { for await (const x of [pause(), middle()]) if (x) return x; },
  async fromAsync() { return Array.fromAsync ? await Array.fromAsync(numbers()) : leave(); },
  async evaluated() { return await eval('(async () => { await null; return leave(); })()'); },
  async asyncFunction() { const AsyncFunction = (async () => {}).constructor; return await new AsyncFunction('leave', 'await null;\n return leave()')(leave); },
  async inContext() { return await vm.runInNewContext('(async function far() { await null; return leave(); })()', { leave }, 'far.js'); },
  async deep() { const step = async (n) => { if (n === 0) { await pause(); return leave(); } return await step(n - 1); }; return await step(60); },
  async allOfMany() { return await Promise.all([...Array(5)].map(async (_, n) => { await pause(); if (n === 3) leave(); })); },
  async raceOfAll() { return await Promise.race([Promise.all([middle()])]); },
  async signal() { const target = new AbortController(); setImmediate(() => target.abort()); return await new Promise((resolve) => target.signal.addEventListener('abort', () => resolve(leave()))); },
  async message() { const { port1, port2 } = new MessageChannel(); const done = new Promise((resolve) => { port2.onmessage = function heard() { port2.close(); resolve(leave()); }; }); port1.postMessage(1); return await done; },
  async immediates() { return await new Promise((resolve) => setImmediate(() => process.nextTick(() => queueMicrotask(() => resolve(leave()))))); },
  async topLevel() { globalThis.leave = leave; return await import('./modules/await.mjs'); },
  async cycle() { globalThis.leave = leave; return await import('./modules/cycle-a.mjs'); },
  async dynamic() { globalThis.leave = leave; return await import('./modules/dynamic.mjs'); },
  async moduleLater() { globalThis.leave = leave; const { default: Shop } = await import('./modules/later.mjs'); return await new Shop().open(); },
  async file() { return await new Promise((resolve) => fs.stat(__filename, () => resolve(leave()))); },
  async hotAwaits() { leaves = false; const step = async (n) => { await null; return maybe(n); }; for (let n = 0; n < 20_000; n++) await step(n); leaves = true; const value = await step(1); leaves = false; return value; },
  ...wasm.suspendable(leave),
  async two() { const shared = middle(); return (await Promise.all([shared, shared.then((x) => x)]))[0]; },
};

async function main() {
  for (const [group, table] of Object.entries({ sync, wasm: wasm.scenarios(leave), optimised, asynchronous, endless: wasm.endless(leave) })) {
    for (const name of Object.keys(table)) {
      current = `${group}.${name}`;
      if (only.length > 0 ? !only.includes(current) && !only.includes(group) : group === 'endless') continue;
      captures = undefined;
      const done = group === 'asynchronous' ? table[name]() : new Promise((resolve) => setImmediate(() => { table[name](); resolve(); }));
      await done;
      await captures;
    }
  }
  console.log(JSON.stringify(notes));
}
main();
