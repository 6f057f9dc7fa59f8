// Every kind of value, with the text that stillcore must print of it; then a core of itself is left in the folder named by
// the first argument, and on stdout what is expected.
//
//   node values.cjs FOLDER
//
// A value is added with its name. What it should print is util.inspect's text, of this very process, unless a text of
// our own stands beside it: where stillcore says more than Node does (places of functions, what a WeakMap holds, where a
// generator is suspended). In those texts @ is a place in this file on the line of the call, <addr> an address.
'use strict';
const path = require('node:path');
const util = require('node:util');
const vm = require('node:vm');

const [folder] = process.argv.slice(2);
const values = [];
const expected = [];

/** A value, and either nothing (Node's text is expected) or the expected text or a function that gives it. */
function add(name, value, text) {
  const line = Number(/values\.cjs:(\d+)/.exec(new Error().stack.split('\n').find((one, n) => n > 1 && one.includes('values.cjs')))[1]);
  values.push(value);
  const node = () => util.inspect(value, { depth: 3, breakLength: Infinity, compact: 3, maxStringLength: 200 });
  expected.push({
    name,
    line,
    own: text !== undefined,
    pattern: text instanceof RegExp ? text.source : undefined,
    text: typeof text === 'function' ? text(value) : text ?? node(),
  });
}

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

function primitives() {
  add('undefined', [undefined]);
  add('null', [null]);
  add('booleans', [true, false]);
  add('smallest and largest Smi', [-(2 ** 31), 2 ** 31 - 1, 0, -1]);
  add('numbers beyond Smi', [2 ** 31, -(2 ** 31) - 1, 2 ** 53, 1e21, 123456789012345680000, 1e-6, 1e-7, 0.1 + 0.2, 5e-324, Number.MAX_VALUE]);
  add('negative zero', [-0, 'x', 0]);
  add('not numbers', [NaN, Infinity, -Infinity, 'x']);
  add('array of doubles', [1.5, -0, NaN, Infinity, 2 ** 40]);
  class Doubles { constructor(x) { this.x = x; this.y = -0; this.z = NaN; } }
  const changing = new Doubles(0.5);
  changing.x = 1e300;
  add('doubles in an object', changing);
  add('BigInts', [0n, 1n, -1n, 2n ** 64n, -(2n ** 64n), 123456789012345678901234567890n, -(10n ** 60n)]);
  add('a huge BigInt', [2n ** 600n], '[ 4149515568880992958512407863691161151012446232242436899995657329690652811412908146399707048947103794288197886611300789182395151075411775307886874834113963687061181803401509523685376n ]');
  add('a BigInt beyond decimals', [-(2n ** 100_000n)], `[ -0x1${'0'.repeat(199)}... 24801 more digits ]`);
  add('symbols', [Symbol('described'), Symbol(), Symbol(''), Symbol.for('registered'), Symbol.iterator, Symbol.asyncIterator, Symbol.toStringTag]);
}

function strings() {
  const base = 'The quick brown fox jumps over the lazy dog, again and again.';
  const wide = 'snow \u2603 and a face \ud83d\ude00, again and again and again';
  let cons = 'begin:';
  for (let n = 0; n < 20; n++) cons += String.fromCharCode(97 + n);
  let wideCons = '\u2603';
  for (let n = 0; n < 20; n++) wideCons += 'ab';
  const thin = ['thin ', 'string ', 'of several', ' parts'].join('') + process.pid % 1;
  ({})[thin];
  add('string, one byte', ['caf\u00e9 \u00ff']);
  add('string, two bytes', [wide]);
  add('string, empty', ['']);
  add('string, cons', [cons]);
  add('string, cons of two bytes', [wideCons]);
  add('string, sliced', [base.slice(4, 40), wide.slice(3, 30)]);
  add('string, sliced of a cons', [(cons + base).slice(10, 60)]);
  add('string, thin', [thin]);
  add('string, internalized', [Object.keys({ internalized: 1 })[0]]);
  add('string, external', [require('node:buffer').Buffer.alloc(2_000_000, 'external ').toString('latin1')],
    `[ '${'external '.repeat(23).slice(0, 200)}'... 1999800 more characters ]`);
  add('string, external of two bytes', [Buffer.alloc(4_000_000, 'wi\u2603', 'utf16le').toString('utf16le')],
    `[ '${'wi\u2603'.repeat(67).slice(0, 200)}'... 1999800 more characters ]`);
  add('string, quotes', ['it\'s', 'say "x"', 'it\'s "x"', 'it\'s "x" `y`', 'it\'s "${x}"', 'back\\slash']);
  add('string, control characters', ['\0\x01\b\t\n\v\f\r\x1b\x7f\x9f']);
  add('string, lone surrogates', ['\ud83d', 'a\ude00b', '\ude00\ud83d']);
  add('string, long', ['ab'.repeat(300)]);
  add('string, repeated', ['ab'.repeat(1 << 26)], `[ '${'ab'.repeat(100)}'... 134217528 more characters ]`);
  add('string, one character more', ['a'.repeat(201)]);
}

function arrays() {
  add('array, empty', []);
  add('array, nested', [1, 'two', [3, [4, [5]]]]);
  add('array, holey', [1, , 3, , , 6]);
  add('array, holes at the end', [1, , ,]);
  add('array, only holes', new Array(5));
  add('array, holey doubles', [1.5, , 2.5, undefined]);
  const holeyDoubles = [1.5, 2.5, , 4.5];
  add('array, doubles with a hole', holeyDoubles);
  const sparse = [];
  sparse[4_000_000] = 'far';
  sparse[7] = 'near';
  add('array, dictionary', sparse);
  const wide = new Array(5000);
  wide[4999] = 'last';
  add('array, many holes', wide);
  add('array, frozen', Object.freeze(['frozen', 1]));
  add('array, sealed', Object.seal(['sealed', 1]));
  add('array, not extensible', Object.preventExtensions(['closed', 1.5]));
  const named = [1, 2];
  named.foo = 'bar';
  add('array, with names', named);
  class Stack extends Array {}
  add('array, subclass', Stack.from([1, 2]));
  const long = Array.from({ length: 250 }, (_, n) => n);
  add('array, long', long);
  add('array, one more', long.slice(0, 101));
  const accessor = [1];
  Object.defineProperty(accessor, 1, { get() { return 2; }, enumerable: true });
  add('array, with a getter', accessor);
  const popped = [1, 2, 3, 4];
  popped.length = 2;
  add('array, shortened', popped);
  add('array, regexp match', /(?<first>b)(c)?/.exec('abd'));
  add('array, template', ((parts) => parts)`one${1}two`);
  const nullArray = [1];
  Object.setPrototypeOf(nullArray, null);
  add('array, null prototype', nullArray);
}

function typedArrays() {
  add('Uint8Array', new Uint8Array([1, 2, 255]));
  add('Int8Array', new Int8Array([1, -2, 127]));
  add('Uint16Array', new Uint16Array([1, 65535]));
  add('Int16Array', new Int16Array([-1, 300]));
  add('Uint32Array', new Uint32Array([1, 2 ** 32 - 1]));
  add('Int32Array', new Int32Array([-1, 2 ** 31 - 1]));
  add('Float32Array', new Float32Array([0.5, -0, NaN, 0.1]));
  add('Float64Array', new Float64Array([1.5, -2.25, -0, 0.1]));
  add('Uint8ClampedArray', new Uint8ClampedArray([300, 5, -1]));
  add('BigUint64Array', new BigUint64Array([2n ** 63n, 1n]));
  add('BigInt64Array', new BigInt64Array([-(2n ** 63n), -1n]));
  if (typeof Float16Array === 'function') add('Float16Array', new Float16Array([1.5, -0, 65504, 2 ** -24, NaN, -Infinity, 0.1]));
  add('typed array, empty', new Uint8Array(0));
  add('typed array, long', new Uint16Array(250).fill(7));
  add('typed array, off the heap', new Int32Array(1000).fill(-5).subarray(990));
  const named = new Uint8Array([1]);
  named.extra = 'name';
  add('typed array, with names', named);
  class Bytes extends Uint8Array {}
  add('typed array, subclass', new Bytes(2));
  if (ArrayBuffer.prototype.resize) {
    const resizable = new ArrayBuffer(8, { maxByteLength: 16 });
    const tracking = new Uint16Array(resizable);
    const part = new Uint8Array(resizable, 1, 2);
    const trackingView = new DataView(resizable, 1);
    const gone = new Uint8Array(resizable, 7);
    resizable.resize(6);
    new Uint8Array(resizable).set([1, 2, 3, 4, 5, 6]);
    add('resizable ArrayBuffer', resizable, 'ArrayBuffer { [Uint8Contents]: <01 02 03 04 05 06>, byteLength: 6, maxByteLength: 16 }');
    add('typed array that tracks its buffer', tracking, 'Uint16Array(3) [ 513, 1027, 1541 ]');
    add('typed array over a resizable buffer', part, 'Uint8Array(2) [ 2, 3 ]');
    add('DataView that tracks its buffer', trackingView, 'DataView { byteLength: 5, byteOffset: 1, buffer: ArrayBuffer { [Uint8Contents]: <01 02 03 04 05 06>, byteLength: 6, maxByteLength: 16 } }');
    add('typed array beyond its buffer', gone, 'Uint8Array(0) []');
    // Pages that nothing ever wrote to or read.
    add('ArrayBuffer, never touched', new ArrayBuffer(1 << 20, { maxByteLength: 1 << 24 }), `ArrayBuffer { [Uint8Contents]: <${'00 '.repeat(50)}... 1048526 more bytes>, byteLength: 1048576, maxByteLength: 16777216 }`);
    const shared = new SharedArrayBuffer(2, { maxByteLength: 8 });
    const growing = new Uint8Array(shared);
    shared.grow(4);
    growing[3] = 9;
    add('growable SharedArrayBuffer', shared, 'SharedArrayBuffer { [Uint8Contents]: <00 00 00 09>, byteLength: 4, maxByteLength: 8 }');
    add('typed array over a growable buffer', growing, 'Uint8Array(4) [ 0, 0, 0, 9 ]');
  }
}

function buffers() {
  add('Buffer', Buffer.from('a Buffer of bytes'));
  add('Buffer, empty', Buffer.alloc(0));
  add('Buffer, pooled slice', Buffer.from('0123456789').subarray(2, 5));
  add('Buffer, long', Buffer.alloc(60, 'x'));
  add('Buffer, one more', Buffer.alloc(51, 'x'));
  const named = Buffer.from('n');
  named.extra = 'name';
  add('Buffer, with names', named);
  add('ArrayBuffer', new Uint8Array([1, 2, 3, 4]).buffer, 'ArrayBuffer { [Uint8Contents]: <01 02 03 04>, byteLength: 4 }');
  add('ArrayBuffer, empty', new ArrayBuffer(0), 'ArrayBuffer { [Uint8Contents]: <>, byteLength: 0 }');
  add('ArrayBuffer, long', new ArrayBuffer(100), `ArrayBuffer { [Uint8Contents]: <${'00 '.repeat(50)}... 50 more bytes>, byteLength: 100 }`);
  add('SharedArrayBuffer', new SharedArrayBuffer(8), 'SharedArrayBuffer { [Uint8Contents]: <00 00 00 00 00 00 00 00>, byteLength: 8 }');
  add('DataView', new DataView(new ArrayBuffer(4), 1, 2), 'DataView { byteLength: 2, byteOffset: 1, buffer: ArrayBuffer { [Uint8Contents]: <00 00 00 00>, byteLength: 4 } }');
  const detached = new Uint8Array(8);
  const detachedView = new DataView(detached.buffer);
  structuredClone(detached.buffer, { transfer: [detached.buffer] });
  add('ArrayBuffer, detached', detached.buffer, 'ArrayBuffer { (detached), byteLength: 0 }');
  add('typed array, detached', detached, 'Uint8Array(0) []');
  add('DataView, detached', detachedView, 'DataView { byteLength: 0, byteOffset: 0, buffer: ArrayBuffer { (detached), byteLength: 0 } }');
  add('Blob', new Blob(['x'], { type: 'text/plain' }));
  if (typeof File === 'function') add('File', new File(['xy'], 'f.txt', { lastModified: 5 }));
  add('hidden: Blob', new Blob(['x']), /^Blob \{ .*\[Symbol\(kLength\)\]: 1, /);
}

function objects() {
  add('object, empty', {});
  add('object, nested', { a: 1, b: 'two', c: { d: { e: { f: { g: 'deep' } } } } });
  add('object, keys', { 'a-b': 1, $x: 2, _y: 3, 'caf\u00e9': 4, '': 5, '1a': 6, a1: 7, 'it\'s': 8, 'new\nline': 9 },
    '{ \'a-b\': 1, $x: 2, _y: 3, café: 4, \'\': 5, \'1a\': 6, a1: 7, "it\'s": 8, \'new\\nline\': 9 }');
  add('object, symbol keys', { [Symbol('key')]: 'by symbol', [Symbol()]: 'bare', [Symbol.for('x-y')]: 1, named: 2 },
    '{ named: 2, [Symbol(key)]: \'by symbol\', [Symbol()]: \'bare\', [Symbol(x-y)]: 1 }');
  add('object, integer keys', { 0: 'zero', 5: 'five', name: 'mixed' });
  add('object, negative and big integer keys', { [-1]: 'negative', 4294967295: 'no index', 4294967294: 'index' });
  add('object, null prototype not opened', [[[[[Object.assign(Object.create(null), { lone: true })]]]]]);
  add('object, null prototype', Object.assign(Object.create(null), { lone: true }));
  add('object, with a prototype', Object.create({ inherited: 1 }));
  const dictionary = {};
  for (let n = 0; n < 2000; n++) dictionary[`key${n}`] = n;
  for (let n = 0; n < 1990; n++) delete dictionary[`key${n}`];
  add('object, dictionary', dictionary);
  const wide = {};
  for (let n = 0; n < 5000; n++) wide[`key${n}`] = n;
  add('object, thousands of properties', wide, `{ ${Array.from({ length: 100 }, (_, n) => `key${n}: ${n}`).join(', ')}, ... 4900 more properties }`);
  const literal = vm.runInThisContext(`({${Array.from({ length: 90 }, (_, n) => `k${n}: ${n}`)}})`);
  add('object, many in-object properties', literal);
  const grown = {};
  for (let n = 0; n < 40; n++) grown[`p${n}`] = n + 0.5;
  add('object, properties outside of it', grown);
  const hidden = { seen: 1 };
  Object.defineProperty(hidden, 'hidden', { value: 'not enumerable' });
  add('object, not enumerable', hidden);
  add('object, getters and setters', { plain: 1, get both() { return 2; }, set both(value) {}, get only() { return 3; }, set alone(value) {} });
  add('object, frozen', Object.freeze({ a: 1, b: { c: 2 } }));
  add('object, undefined and functions', { u: undefined, n: null, f: Math.max });
  const cyclic = { name: 'cyclic', list: [] };
  cyclic.self = cyclic;
  cyclic.list.push(cyclic);
  add('object, cyclic', cyclic, '{ name: \'cyclic\', list: [ [Circular Object <addr>] ], self: [Circular Object <addr>] }');
  const shared = { s: 1 };
  add('object, the same twice', { a: shared, b: shared });
  add('object, tagged', { [Symbol.toStringTag]: 'Tagged', a: 1 }, '{ a: 1, [Symbol(Symbol.toStringTag)]: \'Tagged\' }');
  add('object, boxed', [Object(7), Object('boxed'), Object(true), Object(9n), Object(Symbol('boxed symbol')), Object(-0)]);
  const boxed = Object('with names');
  boxed.extra = 1;
  add('object, boxed with names', boxed);
  add('object, arguments', (function () { return arguments; })('first', 2, [3]), '[Arguments] [ \'first\', 2, [ 3 ] ]');
  add('object, strict arguments', (function () { 'use strict'; return arguments; })('s', 't'), '[Arguments] [ \'s\', \'t\' ]');
  // eslint-disable-next-line no-param-reassign
  const mapped = vm.runInThisContext(`(function (a, b) { a = 'assigned'; return [arguments, () => a + b]; })`)(1, 2)[0];
  add('object, mapped arguments', mapped, '[Arguments] [ \'assigned\', 2 ]');
  add('object, Math and JSON', [JSON, Atomics].map((one) => Object.prototype.toString.call(one)));
}

function collections() {
  add('Map', new Map([['one', 1], [{ key: 'object' }, [1, 2]], [NaN, 'nan'], [-0, 'zero']]));
  add('Map, empty', new Map());
  const deleted = new Map(Array.from({ length: 20 }, (_, n) => [`k${n}`, n]));
  for (let n = 0; n < 18; n++) deleted.delete(`k${n}`);
  add('Map, with deletions', deleted);
  const cleared = new Map([[1, 2]]);
  cleared.clear();
  add('Map, cleared', cleared);
  const long = new Map(Array.from({ length: 150 }, (_, n) => [n, n]));
  add('Map, long', long);
  const named = new Map([[1, 2]]);
  named.extra = 'name';
  add('Map, with names', named);
  class Registry extends Map {}
  add('Map, subclass', new Registry([['a', 1]]));
  add('Set', new Set(['a', 1, { in: 'set' }, undefined, null]));
  const set = new Set([1, 2, 3, 4, 5, 6]);
  set.delete(1);
  set.delete(4);
  add('Set, with deletions', set);
  add('Set, long', new Set(Array.from({ length: 101 }, (_, n) => n)));
  class Group extends Set {}
  add('Set, subclass', new Group(['x']));
  const weakKey = { weak: 'key' };
  const otherKey = function otherKey() {};
  values.push(weakKey, otherKey);
  expected.push(null, null);
  add('WeakMap', new WeakMap([[weakKey, 'weak value']]), 'WeakMap { { weak: \'key\' } => \'weak value\' }');
  add('WeakMap, empty', new WeakMap(), 'WeakMap {}');
  add('WeakSet', new WeakSet([weakKey]), 'WeakSet { { weak: \'key\' } }');
  add('WeakRef', new WeakRef(weakKey), 'WeakRef { [[target]]: { weak: \'key\' } }');
  const registry = new FinalizationRegistry(function cleanup() {});
  registry.register(weakKey, 'held value');
  add('FinalizationRegistry', registry, 'FinalizationRegistry { [[cleanup]]: [Function: cleanup <place>], [[cell]]: { target: { weak: \'key\' }, holdings: \'held value\' } }');
}

function iterators() {
  const map = new Map([['a', 1], ['b', 2], ['c', 3]]);
  const set = new Set(['x', 'y', 'z']);
  const after = (iterator, count = 1) => { while (count--) iterator.next(); return iterator; };
  add('iterator of a Map', map[Symbol.iterator]());
  add('iterator of a Map, under way', after(map.entries()));
  add('iterator of a Map\'s keys', after(map.keys(), 2));
  add('iterator of a Map\'s values', map.values());
  add('iterator of a Map, done', after(map.keys(), 5), '[Map Iterator] {}');
  add('iterator of a Set', after(set.values()));
  add('iterator of a Set\'s entries', set.entries());
  const changing = new Map(Array.from({ length: 40 }, (_, n) => [`k${n}`, n]));
  const underway = after(changing.keys(), 10);
  for (let n = 0; n < 35; n++) changing.delete(`k${n}`);
  for (let n = 40; n < 120; n++) changing.set(`k${n}`, n);
  for (let n = 41; n < 118; n++) changing.delete(`k${n}`);
  add('iterator of a Map that was rehashed', underway);
  const clearing = new Set([1, 2, 3]);
  const lost = after(clearing.values(), 2);
  clearing.clear();
  clearing.add('new');
  add('iterator of a Set that was cleared', lost);
  add('iterator of an array', after([7, 8, 9][Symbol.iterator]()), '[Array Iterator] { [[of]]: [ 7, 8, 9 ], [[next]]: 1, [[kind]]: \'values\' }');
  add('iterator of an array\'s entries', ['q'].entries(), '[Array Iterator] { [[of]]: [ \'q\' ], [[next]]: 0, [[kind]]: \'entries\' }');
  add('iterator of a string', after('abc'[Symbol.iterator]()), '[String Iterator] { [[of]]: \'abc\', [[next]]: 1 }');
  add('iterator of matches', 'a1b2'.matchAll(/\d/g), '[RegExp String Iterator] { [[regexp]]: /\\d/g, [[of]]: \'a1b2\', [[done]]: false }');
  if (typeof Iterator === 'function') {
    add('iterator helper', [1, 2].values().map(Math.abs), '[Iterator Helper] { [[over]]: [Array Iterator] { [[of]]: [ 1, 2 ], [[next]]: 0, [[kind]]: \'values\' } }');
  }
}

function dates() {
  add('Date', [new Date(1_700_000_000_123), new Date(-1), new Date(0), new Date(8.64e15), new Date(-8.64e15), new Date(-62_198_755_200_000)]);
  add('Date, invalid', [new Date(NaN)]);
  const named = new Date(5);
  named.extra = 1;
  add('Date, with names', named);
  class Day extends Date {}
  add('Date, subclass', [new Day(5)]);
  const read = new Date(2020, 1, 1);
  read.getFullYear();
  add('Date, whose parts were read', [read]);
}

function regexps() {
  add('RegExp', [/a(b+)c\/[d]/giu, /x/, /y/dmsy, new RegExp(''), new RegExp('/\n'), new RegExp('[a&&b]', 'v')]);
  const global = /o/g;
  global.exec('foo');
  add('RegExp, lastIndex', [global], '[ /o/g { lastIndex: 2 } ]');
  class Pattern extends RegExp {}
  add('RegExp, subclass', [new Pattern('z', 'i')]);
  const named = /n/;
  named.extra = 1;
  add('RegExp, with names', named);
}

function errors() {
  const plain = new TypeError('it went wrong');
  add('Error', plain, (error) => error.stack);
  const [read, unread] = [0, 1].map(() => new RangeError('nobody read its stack'));
  add('Error, its stack not read', unread, () => read.stack);
  const coded = new Error('coded', { cause: new TypeError('the cause') });
  coded.code = 'E_CODED';
  add('Error, cause and code', coded, (error) => `${error.stack} { code: 'E_CODED', [cause]: ${error.cause.stack} }`);
  const aggregate = new AggregateError([new Error('one'), 'two'], 'several');
  add('AggregateError', aggregate, (error) => `${error.stack} { [errors]: [ ${error.errors[0].stack}, 'two' ] }`);
  class AppError extends Error {}
  add('Error, subclass', new AppError('mine'), (error) => error.stack.replace(/^Error/, 'AppError'));
  class NamedError extends Error { get name() { return 'NamedError'; } }
  add('Error, named', new NamedError('called'), (error) => error.stack.replace(/^Error/, 'NamedError'));
  const short = new Error('short');
  short.stack = 'Error: short';
  add('Error, without frames', short);
  const limit = Error.stackTraceLimit;
  Error.stackTraceLimit = 0;
  const bare = new Error('no frames');
  const empty = new Error();
  Error.stackTraceLimit = limit;
  add('Error, of no frames', bare);
  add('Error, without a message', empty);
  const changed = new Error('before');
  changed.stack;
  changed.message = 'after';
  add('Error, message changed later', changed, (error) => error.stack);
  const replaced = new Error('x');
  replaced.stack = 'anything at all';
  add('Error, another stack', replaced);
  const system = (() => { try { require('node:fs').readFileSync('/does/not/exist'); } catch (error) { return error; } })();
  add('Error of the system', system, (error) => `${error.stack} { errno: -2, code: 'ENOENT', syscall: 'open', path: '/does/not/exist' }`);
  const lines = new Error('first line\nsecond line');
  add('Error, of two lines', lines, (error) => error.stack);
  add('Error in an object', { error: short, list: [bare] });
  add('DOMException', structuredCloneError(), (error) => util.inspect(error));
}
function structuredCloneError() {
  try { structuredClone(() => {}); } catch (error) { return error; }
}

function functions() {
  add('function', function named(a, b) { return a + b; }, '[Function: named @]');
  add('function, anonymous', [function (a) { return a; }, (a) => a], '[ [Function (anonymous) @], [Function (anonymous) @] ]');
  const arrow = () => 1; add('function, arrow', arrow, '[Function: arrow @]');
  add('function, async', [async function af() {}, async () => 1, { async am() {} }.am], '[ [AsyncFunction: af @], [AsyncFunction (anonymous) @], [AsyncFunction: am @] ]');
  add('function, generator', [function* gf() {}, { *gm() {} }.gm], '[ [GeneratorFunction: gf @], [GeneratorFunction: gm @] ]');
  add('function, async generator', [async function* agf() {}, { async *agm() {} }.agm], '[ [AsyncGeneratorFunction: agf @], [AsyncGeneratorFunction: agm @] ]');
  add('function, method', [{ short() { return 1; } }.short, { 'a b'() {} }['a b'], { [Symbol('sym')]() {} }].slice(0, 2), '[ [Function: short @], [Function: a b @] ]');
  add('function, native', [Math.max, Array.prototype.map, Promise, Map, Symbol], '[ [Function: max], [Function: map], [Function: Promise], [Function: Map], [Function: Symbol] ]');
  const withNames = function withNames() {}; withNames.extra = 1; add('function, with names', withNames, '[Function: withNames @] { extra: 1 }');
  const renamed = function original() {}; Object.defineProperty(renamed, 'name', { value: 'renamed' }); add('function, renamed', renamed, '[Function: renamed @]');
  const greet = function greet() {}; add('function, bound', greet.bind({ me: 1 }, 'extra'), '[Function: bound greet] { [[target]]: [Function: greet @], [[this]]: { me: 1 }, [[argument]]: \'extra\' }');
  add('function, compiled from text', [new Function('a', 'return a')], '[ [Function: anonymous <place>] ]');
  const never = [function neverCalled() { return 'never compiled'; }]; add('function, never called', never, '[ [Function: neverCalled @] ]');
  add('function, of Node\'s snapshot', [require('node:path').join], '[ [Function: join node:path:<line>] ]');
  add('function, made by a template', [process.hrtime.bigint, process.cwd], /^\[ \[Function: hrtimeBigInt node:internal\/process\/per_thread:\d+:\d+\], \[Function: wrappedCwd node:\S+\] \]$/);
}

function classes() {
  class Base { constructor() { this.b = 1; } }
  class Derived extends Base { field = 'set'; }
  class Statics { static one = 1; static #hidden = 2; static read() { return Statics.#hidden; } static { this.two = 2; } }
  class Nothing extends null {}
  const Unnamed = (() => class {})();
  add('class', [Base, Derived, Nothing, Unnamed], '[ [class Base <place>], [class Derived extends Base <place>], [class Nothing extends null <place>], [class (anonymous) <place>] ]');
  add('class, static fields', Statics, '[class Statics <place>] { one: 1, #hidden: 2, two: 2 }');
  add('instance', [new Base(), new Derived()]);
  class Private {
    #field = 'private field';
    #object = { in: 'private' };
    #method() { return this.#field; }
    get #both() { return 1; }
    set #both(value) {}
    get #only() { return 2; }
    shown = 1;
    use() { return [this.#method(), this.#both, this.#only, this.#object]; }
  }
  const secret = new Private();
  secret.use();
  add('instance, private members', secret, 'Private { #field: \'private field\', #object: { in: \'private\' }, shown: 1 }');
  add('hidden: instance, private members', secret, 'Private { #method: [Function: #method <place>], #both: [Getter/Setter], #only: [Getter], #field: \'private field\', #object: { in: \'private\' }, shown: 1 }');
  class Two extends Private { #field = 'of the derived class'; get() { return this.#field; } }
  add('instance, private members of two classes', new Two(), 'Two { #field: \'private field\', #object: { in: \'private\' }, shown: 1, #field: \'of the derived class\' }');
  function Old(name) { this.name = name; }
  add('instance, of a function', new Old('old style'));
  const lost = new Base();
  Object.setPrototypeOf(lost, null);
  add('instance, prototype taken away', lost);
  add('prototype of a class', Object.getPrototypeOf(new Derived()), 'Base {}');
  class Tagged { get [Symbol.toStringTag]() { return 'computed'; } }
  add('instance, tag computed', new Tagged(), 'Tagged {}');
  class FixedTag { a = 1; }
  FixedTag.prototype[Symbol.toStringTag] = 'fixed';
  add('instance, tag of the prototype', new FixedTag());
}

/** Objects whose prototypes are not what they seem. */
function oddPrototypes() {
  const lone = (value) => Object.setPrototypeOf(value, null);
  add('null prototypes', [lone(new Uint8Array(2)), lone(new Date(0)), lone(/x/g), lone(Object('s')), lone(new Map([[1, 2]]))]);
  add('null prototype, functions', [lone(function f() {}), lone(class C {})], '[ [Function (null prototype): f @], [class C extends [null prototype] @] ]');
  add('null prototype, Error', lone(new Error('alone')));
  class Text extends String { more = 1; }
  class Count extends Number {}
  class Yes extends Boolean {}
  add('boxed, subclasses', [new Text('abc'), new Count(5), new Yes(true)]);
  class Callable extends Function {}
  add('function, subclass of Function', [new Callable('return 1')], '[ [Function: anonymous <place>] Callable ]');
  const mixin = (() => class {})();
  add('class, extends one without a name', [class Mixed extends mixin {}, class OfProxy extends new Proxy(mixin, {}) {}], '[ [class Mixed extends (anonymous) @], [class OfProxy extends Proxy @] ]');
  add('object, tagged otherwise', Object.defineProperty({ a: 1 }, Symbol.toStringTag, { value: 'Quiet' }));
  add('object, odd keys', { ['__proto__']: 1, '\ud800': 2, [Symbol('a\nb')]: 3 }, '{ [\'__proto__\']: 1, \'\\ud800\': 2, [Symbol(a\\nb)]: 3 }');
}

function proxies() {
  add('Proxy', new Proxy({ inside: 'proxy' }, {}), 'Proxy { [[target]]: { inside: \'proxy\' }, [[handler]]: {} }');
  const { proxy, revoke } = Proxy.revocable({}, {});
  revoke();
  add('Proxy, revoked', [proxy]);
  add('Proxy of a function', new Proxy(function aim() {}, { get() {} }), 'Proxy { [[target]]: [Function: aim @], [[handler]]: { get: [Function: get @] } }');
}

async function promises() {
  add('Promise, fulfilled', Promise.resolve('done'), 'Promise { <fulfilled>: \'done\' }');
  const rejected = Promise.reject('why');
  rejected.catch(() => {});
  add('Promise, rejected', rejected, 'Promise { <rejected>: \'why\' }');
  add('Promise, pending', new Promise(() => {}));
  const awaited = new Promise(() => {});
  values.push((async function waiter() { await awaited; })()); expected.push(null);
  add('Promise, awaited', awaited, 'Promise { <pending>, [[reaction]]: await in waiter (<place>) }');
  const then = new Promise(() => {});
  values.push(then.then(function onDone() {})); expected.push(null);
  add('Promise, with a then', then, 'Promise { <pending>, [[reaction]]: [Function: onDone <place>] }');
  class Task extends Promise {}
  add('Promise, subclass', new Task(() => {}));
}

function generators() {
  function* numbers(from) {
    yield from;
    yield from + 1;
  }
  const line = numbers.toString().split('\n').length;
  const started = numbers(40);
  started.next();
  const ended = numbers(1);
  [...ended];
  add('generator, suspended', started, 'Object [Generator] { [[state]]: suspended at <place>, [[function]]: [GeneratorFunction: numbers <place>], [[receiver]]: undefined }');
  add('generator, not begun', numbers(1), 'Object [Generator] { [[state]]: not begun, [[function]]: [GeneratorFunction: numbers <place>], [[receiver]]: undefined }');
  add('generator, ended', ended, 'Object [Generator] { [[state]]: closed, [[function]]: [GeneratorFunction: numbers <place>], [[receiver]]: undefined }');
  async function* ticks() { yield 1; }
  add('async generator', ticks(), 'Object [AsyncGenerator] { [[state]]: not begun, [[function]]: [AsyncGeneratorFunction: ticks <place>], [[receiver]]: undefined }');
}

async function modules() {
  const text = 'export const a = 1; export let b = { c: 2 }; export default function main() {}; export class K {}';
  add('module', await import(`data:text/javascript,${encodeURIComponent(text)}`), '[Module: null prototype] { K: [class K <place>], a: 1, b: { c: 2 }, default: [Function: main <place>] }');
  add('module of Node', await import('node:string_decoder'), /^\[Module: null prototype\] \{ StringDecoder: \[Function: StringDecoder node:string_decoder:\d+:\d+\], default: \{ StringDecoder: /);
}

/** What Node shows by its getters. */
function web() {
  const { createSecretKey, generateKeyPairSync } = require('node:crypto');
  const keys = { createSecretKey: createSecretKey(Buffer.from('a secret')), ...generateKeyPairSync('ec', { namedCurve: 'P-256' }) };
  // Node 24 leaves out a tag that the class has in its name.
  add('KeyObject', Object.values(keys), /^\[ SecretKeyObject \[KeyObject\] \{.*\}, PublicKeyObject \[KeyObject\] \{.*\}, PrivateKeyObject \[KeyObject\] \{.*\} \]$/);
  const target = new EventTarget();
  add('EventTarget', new EventTarget());
  target.addEventListener('open', function onOpen() {});
  target.addEventListener('open', function onceOpen() {}, { once: true });
  target.own = 1;
  add('EventTarget with listeners', target, 'EventTarget { own: 1, [[listeners]]: { open: [ [Function: onOpen <place>], [Function: onceOpen <place>] ] } }');
  class Bus extends EventTarget { topic = 'all'; }
  add('EventTarget, subclass', new Bus(), 'Bus [EventTarget] { topic: \'all\' }');
  add('Event', new Event('load'));
  const prevented = new Event('submit', { cancelable: true });
  prevented.preventDefault();
  add('Event, prevented', prevented);
  if (typeof CustomEvent === 'function') add('CustomEvent', new CustomEvent('mine', { detail: { a: 1 } }), (event) => util.inspect(event, { breakLength: Infinity }).replace(/ \}$/, ', [[detail]]: { a: 1 } }'));
  const source = new ReadableStream();
  const locked = new ReadableStream();
  const bytes = new ReadableStream({ type: 'bytes' });
  const sink = new WritableStream();
  const lockedSink = new WritableStream();
  add('streams', [source, bytes, sink]);
  add('reader of a stream', locked.getReader());
  add('writer of a stream', lockedSink.getWriter(), (writer) => util.inspect(writer, { breakLength: Infinity }).replace('{ undefined }', '{ <fulfilled>: undefined }'));
  add('locked streams', [locked, lockedSink]);
  add('TransformStream', new TransformStream());
  // Node 20.9 says nothing of one.
  const ends = 'readable: ReadableStream { locked: false, state: \'readable\', supportsBYOB: false }, writable: WritableStream { locked: false, state: \'writable\' }';
  add('CompressionStream', new CompressionStream('gzip'), `CompressionStream { ${ends} }`);
  add('TextDecoderStream', new TextDecoderStream());
  add('ByteLengthQueuingStrategy', [new ByteLengthQueuingStrategy({ highWaterMark: 5 }), new CountQueuingStrategy({ highWaterMark: 6 })]);
  add('TextDecoder', [new TextDecoder('utf-16le', { fatal: true })]);
  add('TextEncoder', [new TextEncoder()], '[ TextEncoder { encoding: \'utf-8\' } ]');
  add('PerformanceMark', performance.mark('here', { detail: { a: 1 } }));
  add('SocketAddress', new (require('node:net').SocketAddress)({ address: '::1', family: 'ipv6', port: 80 }));
  const channel = new BroadcastChannel('news');
  channel.unref();
  add('BroadcastChannel', channel);
  if (typeof Response !== 'function') return;
  // Node 20.9 shows what is inside of them.
  const shown = (text) => (value) => value.constructor.name.startsWith('_') ? text : util.inspect(value, { breakLength: Infinity });
  add('Response', new Response('body', { status: 404, statusText: 'not here', headers: { 'x-y': '1' } }), shown(`Response { status: 404, statusText: 'not here', headers: Headers { 'x-y': '1', 'content-type': 'text/plain;charset=UTF-8' }, body: ReadableStream { locked: false, state: 'readable', supportsBYOB: false }, bodyUsed: false, ok: false, redirected: false, type: 'default', url: '' }`));
  add('Response, empty', new Response(null), shown(`Response { status: 200, statusText: '', headers: Headers {}, body: null, bodyUsed: false, ok: true, redirected: false, type: 'default', url: '' }`));
  add('Request', new Request('http://localhost/x?y=1#z', { method: 'POST', body: 'abc', headers: { a: 'b' }, referrer: 'about:client' }), shown(`Request { method: 'POST', url: 'http://localhost/x?y=1#z', headers: Headers { a: 'b', 'content-type': 'text/plain;charset=UTF-8' }, destination: '', referrer: 'about:client', referrerPolicy: '', mode: 'cors', credentials: 'same-origin', cache: 'default', redirect: 'follow', integrity: '', keepalive: false, isReloadNavigation: false, isHistoryNavigation: false, signal: AbortSignal { aborted: false } }`));
  const form = new FormData();
  form.append('one', '1');
  form.append('two', 'a');
  form.append('two', 'b');
  add('FormData', form, 'FormData { one: \'1\', two: [ \'a\', \'b\' ] }');
}

async function keysOfWebCrypto() {
  const { subtle } = require('node:crypto').webcrypto;
  const key = await subtle.generateKey({ name: 'AES-GCM', length: 256 }, true, ['encrypt', 'unwrapKey']);
  const pair = await subtle.generateKey({ name: 'ECDSA', namedCurve: 'P-256' }, false, ['sign', 'verify']);
  add('CryptoKey', [key, pair.publicKey, pair.privateKey]);
}

function others() {
  add('Intl', [new Intl.NumberFormat('de-DE'), new Intl.DateTimeFormat('en-GB'), new Intl.Collator('sv')], /^\[ Intl\.NumberFormat \{ \[\[locale\]\]: 'de-DE' \}, Intl\.DateTimeFormat \{ \[\[locale\]\]: 'en-GB' \}, Intl\.Collator \{/);
  add('Intl.Segmenter', ['grapheme', 'word', 'sentence'].map((granularity) => new Intl.Segmenter('ja', { granularity })),
    `[ ${['grapheme', 'word', 'sentence'].map((granularity) => `Intl.Segmenter { [[locale]]: 'ja', [[granularity]]: '${granularity}' }`).join(', ')} ]`);
  const namings = ['long', 'short', 'narrow'].flatMap((style) => ['code', 'none'].map((fallback) => ({ style, fallback })));
  add('Intl.DisplayNames', namings.map((how) => new Intl.DisplayNames('fr', { type: 'region', ...how })),
    `[ ${namings.map(({ style, fallback }) => `Intl.DisplayNames { [[style]]: '${style}', [[fallback]]: '${fallback}' }`).join(', ')} ]`);
  const bytes = new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0, 1, 4, 1, 96, 0, 0, 3, 2, 1, 0, 7, 5, 1, 1, 102, 0, 0, 10, 4, 1, 2, 0, 11]);
  const wasm = new WebAssembly.Instance(new WebAssembly.Module(bytes));
  add('WebAssembly.Module', new WebAssembly.Module(bytes), 'WebAssembly.Module {}');
  const memory = new WebAssembly.Memory({ initial: 1 });
  new Uint8Array(memory.buffer)[0] = 255;
  add('WebAssembly.Memory', memory, /^WebAssembly\.Memory \{ \[\[buffer\]\]: ArrayBuffer \{ \[Uint8Contents\]: <ff 00 .* byteLength: 65536/);
  const unused = new WebAssembly.Memory({ initial: 1 });
  unused.buffer;
  add('WebAssembly.Memory, never touched', unused, /^WebAssembly\.Memory \{ \[\[buffer\]\]: ArrayBuffer \{ \[Uint8Contents\]: <00 00 .* byteLength: 65536/);
  add('WebAssembly.Instance', wasm, 'WebAssembly.Instance { [[exports]]: [Object: null prototype] { f: [Function: 0] } }');
  add('WebAssembly.Memory, its buffer not asked for', new WebAssembly.Memory({ initial: 2 }), /^WebAssembly\.Memory \{ (\[\[byteLength\]\]: 131072|\[\[buffer\]\]: ArrayBuffer \{ .*byteLength: 131072) /);
  const table = new WebAssembly.Table({ initial: 2, element: 'externref' });
  table.set(0, { held: 'by the table' });
  add('WebAssembly.Table', table, 'WebAssembly.Table { [[values]]: <FIXED_ARRAY> [ { held: \'by the table\' }, undefined ] }');
  add('WebAssembly.Global', new WebAssembly.Global({ value: 'i32', mutable: true }, 258), 'WebAssembly.Global { [[bytes]]: ArrayBuffer { [Uint8Contents]: <02 01 00 00>, byteLength: 4 } }');
  add('WebAssembly.Global of JavaScript', new WebAssembly.Global({ value: 'externref', mutable: true }, { held: 1 }), 'WebAssembly.Global { [[values]]: <FIXED_ARRAY> [ { held: 1 } ] }');
  add('WebAssembly function', [wasm.exports.f]);
  for (const href of ['https://user:pw@example.com:8080/path?q=1#frag', 'http://localhost/', 'file:///a/b', 'ftp://u@h/x?#', 'data:text/plain,x', 'http://[::1]:80/?a']) {
    const url = new URL(href);
    url.searchParams.get('q');
    add(`URL ${href}`, url);
  }
  web();
  add('hidden: URL', new URL('http://localhost/x'), /^URL \{ .*#context: URLContext \{ href: 'http:\/\/localhost\/x', /);
  class URLSearchParamsOfMine {}
  add('URL, of the program', [new (class URL { constructor() { this.a = 1; } })(), new URLSearchParamsOfMine()]);
  add('URLSearchParams', new URLSearchParams('a=1&b=2&a=3'));
  add('URLSearchParams, empty', new URLSearchParams());
  if (typeof Headers === 'function') add('Headers', new Headers({ Accept: 'x', 'x-y': '1, 2' }), 'Headers { Accept: \'x\', \'x-y\': \'1, 2\' }');
  const controller = new AbortController();
  controller.signal.onabort = null;
  add('AbortController', controller);
  const ended = new AbortController();
  ended.abort('a reason');
  add('AbortSignal', ended.signal, 'AbortSignal { aborted: true, [[reason]]: \'a reason\' }');
  const stopped = new AbortController();
  stopped.abort();
  add('AbortSignal, its DOMException', stopped.signal, (signal) => `AbortSignal { aborted: true, [[reason]]: ${util.inspect(signal.reason).replace(/ \{\s*\[?(code|message|name)[^]*$/, '')} }`);
  if (typeof Temporal === 'object') {
    const { PlainDate, PlainTime, PlainDateTime, PlainYearMonth, PlainMonthDay, Instant, ZonedDateTime, Duration } = Temporal;
    const plain = [PlainDate.from('2024-02-29'), PlainDate.from('-002024-12-31'), PlainDate.from('+123456-01-01'), PlainTime.from('12:34:56.789'), PlainTime.from('00:00'),
      PlainDateTime.from('2024-02-29T12:34:56.789012345'), PlainYearMonth.from('2024-02'), PlainMonthDay.from('02-29'),
      Instant.from('2024-02-29T12:34:56.789012345Z'), Instant.from('1900-02-28T00:00:00.000000001Z'), Instant.from('+275760-09-13T00:00:00Z'),
      ...['P1Y2M3W4DT5H6M7.00800901S', '-P1Y2DT7S', 'PT0S', 'PT90M', 'P9007199254740991D', 'PT0.5S'].filter((text) => text.length < 30 && !text.includes('9007')).map((text) => Duration.from(text))];
    for (const one of plain) add(`Temporal ${one}`, [one], `[ Temporal.${one[Symbol.toStringTag].slice(9)} ${one} ]`);
    for (const text of ['2024-02-29T12:34:56.789+01:00[Europe/Berlin]', '2024-02-29T12:34:56+00:00[UTC]', '1969-12-31T20:00:00-03:30[-03:30]']) {
      add(`Temporal ${text}`, [ZonedDateTime.from(text)], `[ Temporal.ZonedDateTime ${text.replace(/\[.*/, '')} ]`);
    }
    const named = PlainDate.from('2024-02-29');
    named.extra = 1;
    add('Temporal, with names', named, 'Temporal.PlainDate 2024-02-29 { extra: 1 }');
  }
  add('globalThis', globalThis, /^Object \[global\] \{ global: \[Circular Object \[global\] 0x[0-9a-f]+\], .* holder: Holder \{/);
  add('vm context', vm.createContext({ inside: 1 }));
  add('of another realm', vm.runInNewContext('({ a: [1, new Map([[1, 2]])], d: new Date(0) })'));
}

class Holder {}
class Planted {}

/** What the commands are tried on, each by its name. */
function subjects() {
  function makeCounter(start, step) {
    let count = start;
    const unused = 'no function uses this';
    {
      const inBlock = 'in a block';
      return function counter() {
        count += step.by;
        return [count, inBlock];
      };
    }
  }
  const counter = makeCounter(40, { by: 2 });
  counter();
  return {
    counter,
    sibling: makeCounter(1, null),
    never: function neverOnceCalled(a, b) { return a + b; },
    max: Math.max,
    arrow: [() => 1][0],
    list: ['first', 42, , { a: 1 }],
    numbers: new Float64Array([0.5, -0, 3]),
    map: new Map([['one', 1], [2, { two: 2 }]]),
    bytes: Buffer.from('hello, bytes\n'),
    view: new DataView(new Uint8Array([1, 2, 3, 4]).buffer, 1, 2),
    given: (() => { const bytes = new Uint8Array(4); structuredClone(bytes.buffer, { transfer: [bytes.buffer] }); return bytes.buffer; })(),
    text: 'a text to be found: \u2603',
    instance: new Planted(),
    separator: '====',
    pair: { first: { second: { third: 3 } }, 'a-b': 1 },
  };
}

async function main() {
  for (const part of [primitives, strings, arrays, typedArrays, buffers, objects, collections, iterators, dates, regexps, errors, functions, classes, oddPrototypes, proxies, promises, generators, modules, others, keysOfWebCrypto]) {
    await part();
  }
  const holder = new Holder();
  holder.values = values;
  holder.subjects = subjects();
  globalThis.holder = holder;
  await sleep(10);
  console.log(JSON.stringify({ program: __filename, expected }));
  const capture = require(path.resolve(__dirname, '../..')).capture;
  capture({ method: 'direct', what: 'core', directory: folder });
}

main();
