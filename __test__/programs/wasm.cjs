// Calls through WebAssembly, for stacks.cjs: each reaches leave() by way of a module that is put together here, byte by
// byte, so that what has a name, and what has none, is known.
'use strict';

const uleb = (n) => (n < 128 ? [n] : [n % 128 | 128, ...uleb(Math.floor(n / 128))]);
const text = (s) => [...uleb(Buffer.byteLength(s)), ...Buffer.from(s)];
const list = (items) => [...uleb(items.length), ...items.flat()];
const section = (id, bytes) => [id, ...uleb(bytes.length), ...bytes];
const I32 = 0x7f;
const get = (n) => [0x20, n];
const call = (n) => [0x10, ...uleb(n)];
const number = (n) => [0x41, n & 127]; // -64 to 63
const nop = 0x01;

/**
 * A module. Its types are () -> () and (i32) -> i32; it imports `out` of the first type as function 0, and its own follow:
 * { type, code, name, as } (`as` is what it is exported as). Each body is filled up to `pad` bytes first.
 */
function build({ functions, name, table = [], start, pad = 0 }) {
  const body = ({ code, pad: own = pad }) => {
    const bytes = [0, ...Array(own).fill(nop), ...code, 0x0b];
    return [...uleb(bytes.length), ...bytes];
  };
  const named = functions.map((one, index) => [one.name, index + 1]).filter(([given]) => given !== undefined);
  const names = [
    ...(name === undefined ? [] : section(0, text(name))),
    ...(named.length === 0 ? [] : section(1, list(named.map(([given, index]) => [...uleb(index), ...text(given)])))),
  ];
  return new Uint8Array([
    0, 0x61, 0x73, 0x6d, 1, 0, 0, 0,
    ...section(1, list([[0x60, 0, 0], [0x60, 1, I32, 1, I32]])),
    ...section(2, list([[...text('m'), ...text('out'), 0, 0]])),
    ...section(3, list(functions.map(({ type = 0 }) => [type]))),
    ...(table.length === 0 ? [] : section(4, list([[0x70, 0, table.length]]))),
    ...section(7, list(functions.flatMap(({ as }, index) => (as === undefined ? [] : [[...text(as), 0, ...uleb(index + 1)]])))),
    ...(start === undefined ? [] : section(8, uleb(start))),
    ...(table.length === 0 ? [] : section(9, list([[0, 0x41, 0, 0x0b, ...list(table.map(uleb))]]))),
    ...section(10, list(functions.map(body))),
    ...(names.length === 0 ? [] : section(0, [...text('name'), ...names])),
  ]);
}
const instance = (module, out) => new WebAssembly.Instance(new WebAssembly.Module(build(module)), { m: { out } }).exports;

/** `down(n)` calls itself n times, then out. */
const down = { type: 1, name: 'down', as: 'down', code: [...get(0), 0x04, I32, ...get(0), ...number(1), 0x6b, ...call(1), ...number(1), 0x6a, 0x05, ...call(0), ...number(0), 0x0b] };
/** `outer(n)` calls inner(n) in a loop, n times; inner calls out if n is 0, once the loop has gone through. */
const hot = [
  { type: 1, name: 'inner', code: [...get(0), 0x45, 0x04, 0x40, ...call(0), 0x0b, ...get(0), ...number(3), 0x6c] },
  { type: 1, name: 'middle', code: [...get(0), ...call(1), ...number(1), 0x6a] },
  { type: 1, name: 'outer', as: 'outer', code: [0x03, 0x40, ...get(0), ...call(2), 0x1a, ...get(0), 0x04, 0x40, ...get(0), ...number(1), 0x6b, 0x21, 0, 0x0c, 1, 0x0b, 0x0b, ...get(0)] },
];

const rest = (milliseconds) => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, milliseconds);

/** The scenarios; each is called as a method of the table. */
exports.scenarios = (leave) => ({
  exported() { return instance({ functions: [{ code: call(0), as: 'run' }] }, leave).run(); },
  named() { return instance({ functions: [{ code: call(2), as: 'run', name: 'first' }, { code: [nop, ...call(0)], name: 'größe' }] }, leave).run(); },
  module() { return instance({ name: 'shop', functions: [{ code: call(2), as: 'run' }, { code: call(0), name: 'cart' }] }, leave).run(); },
  emptyName() { return instance({ functions: [{ code: call(0), as: 'run', name: '' }] }, leave).run(); },
  long() { return instance({ pad: 300, functions: [...Array(200)].map((_, index) => ({ code: call(index < 199 ? index + 2 : 0), as: `f${index}`, name: index % 2 ? `n${index}` : undefined })) }, leave).f150(); },
  recursion() { return instance({ functions: [down] }, leave).down(500); },
  indirect() { return instance({ table: [2], functions: [{ code: [...number(0), 0x11, 0, 0], as: 'run', name: 'byTable' }, { code: call(0), name: 'target' }] }, leave).run(); },
  start() { return instance({ start: 1, functions: [{ code: call(0), name: 'begin' }] }, leave); },
  between() {
    const second = instance({ name: 'second', functions: [{ code: call(0), as: 'run', name: 'deeper' }] }, () => leave());
    const first = instance({ name: 'first', functions: [{ code: call(0), as: 'run', name: 'go' }] }, function back() { return [1].map(() => second.run()); });
    return first.run();
  },
  callback() { return [4].map(instance({ functions: [down] }, leave).down); },
  imported() { const { run } = instance({ functions: [{ code: call(0), as: 'run', name: 'exporter' }] }, leave); return instance({ functions: [{ code: call(0), as: 'run', name: 'importer' }] }, run).run(); },
  /** Many modules: each frame is of another, and the memory of one lies beside that of the next. */
  modules() { return [...Array(60).keys()].reduce((out, index) => instance({ functions: [{ code: call(0), as: 'run', name: `of${index}` }] }, out).run, leave)(); },
  bound() { return instance({ functions: [{ code: call(0), as: 'run' }] }, leave.bind(null, 1)).run(); },
  method() { const object = { run: instance({ functions: [{ code: call(0), as: 'run', name: 'asMethod' }] }, leave).run }; return object.run(); },
  /** Counted while Liftoff's code runs, then compiled beside it: what is called often is inlined, from Node 24 on. */
  inlined() {
    let on = false;
    const { outer } = instance({ functions: hot }, () => on && leave());
    for (let round = 0; round < 40; round++) { outer(20_000); rest(2); }
    on = true;
    return outer(5);
  },
});

/** One that never ends, once it has called out: for what comes from outside. */
exports.endless = (leave) => {
  const spin = { as: 'spin', name: 'spin', code: [...call(0), 0x03, 0x40, 0x0c, 0, 0x0b] };
  return { wasm() { return instance({ name: 'endless', functions: [spin, { code: call(1), as: 'run', name: 'run' }] }, leave).run(); } };
};

/** Scenarios on a stack that WebAssembly has for itself; none where it cannot be suspended. */
exports.suspendable = (leave) => {
  const { promising, Suspending } = WebAssembly;
  if (!promising) return {};
  const module = { name: 'shop', functions: [{ code: [...call(0), nop, ...call(0)], name: 'twice' }, { code: call(1), as: 'run', name: 'go' }] };
  const run = (out) => promising(instance(module, out).run)();
  return {
    async promising() { return await run(leave); },
    async promisingMethod() { return await [1].map(() => run(() => [2].forEach(() => leave())))[0]; },
    async resumed() { let times = 0; const caller = async () => await run(new Suspending(() => (times++ === 0 ? Promise.resolve() : leave()))); return await caller(); },
    async suspended() { return await run(new Suspending(async () => { await null; return leave(); })); },
    async promisingTwice() { return await run(() => { run(function inside() { leave(); }); }); },
    async resumedTwice() { let times = 0; const out = new Suspending(async () => { if (times++ === 0) return; await run(new Suspending(() => (times++ < 3 ? Promise.resolve() : leave()))); }); return await run(out); },
  };
};
