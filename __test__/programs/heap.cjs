'use strict';
// Puts markers into every kind of memory that a Node process has, takes a core, and changes some of them in the very
// next statement.
//
//   node --expose-gc --allow-natives-syntax --expose-externalize-string --min-semi-space-size=16 \
//     heap.cjs <directory> <core|archive> <seed> [<folder> <mapper>]
//
// With a folder for its files and the addon of native/mapper.rs it also maps all that mapped.cjs maps.
//
// Prints one line of JSON: what it put where, and the path of the core.

const crypto = require('node:crypto');
const fs = require('node:fs');
const os = require('node:os');
const v8 = require('node:v8');
const { createCore, collectCore } = require('../..');
const { mapAll } = require('./mapped.cjs');
const { Markers, LENGTH } = require('./markers.cjs');
const { dontforkRanges, parseMappings } = require('./smaps.cjs');

const [directory, what, seed, folder, mapper] = process.argv.slice(2);
const take = what === 'archive' ? collectCore : createCore;
const markers = new Markers(seed);
const COUNT = 1500;
const FEW = 50;

const isYoung = (value) => %InYoungGeneration(value);
const isLarge = (value) => %InLargeObjectSpace(value);

const kept = {};
const counts = { text: {}, wide: {}, double: {}, smi: {} };
const places = {};

/** Keeps markers 0 ... count - 1 as `make` gives them, and notes how many there are of that kind. */
function keep(coding, kind, count, make) {
  counts[coding][kind] = count;
  return Array.from({ length: count }, (_, n) => make(n));
}

// --- the heap, by kind of object -----------------------------------------------------------------

function fillHeap() {
  kept.flat = keep('text', 'of', COUNT, (n) => markers.text('of', n));
  kept.wide = keep('wide', 'ow', COUNT, (n) => markers.wide('ow', n));

  // A rope of two strings; searching it makes it flat.
  kept.flattened = keep('text', 'co', COUNT, (n) => {
    const whole = markers.text('co', n);
    const rope = whole.slice(0, 16) + whole.slice(16);
    if (/\n/.test(rope)) throw new Error('there is no such marker');
    return rope;
  });

  kept.keyed = keep('text', 'pr', COUNT, (n) => ({ [markers.text('pr', n)]: n }));
  kept.symbols = keep('text', 'sy', FEW, (n) => Symbol(markers.text('sy', n)));
  kept.map = new Map(keep('text', 'mk', COUNT, (n) => [markers.text('mk', n), markers.text('mv', n)]));
  counts.text.mv = COUNT;
  kept.set = new Set(keep('text', 'se', COUNT, (n) => markers.text('se', n)));

  // In a context: nothing else refers to the string.
  kept.closures = keep('text', 'cl', COUNT, (n) => {
    const captured = markers.text('cl', n);
    return () => captured.length;
  });
  kept.bound = keep('text', 'bo', FEW, (n) => String.prototype.concat.bind(markers.text('bo', n)));
  kept.code = keep('text', 'sr', FEW, (n) => {
    const run = new Function(`return '${markers.text('sr', n)}'.length`);
    if (run() !== LENGTH) throw new Error('the function is not what it should be');
    return run;
  });

  kept.objects = keep('double', 1, COUNT, (n) => ({ n, value: markers.double(1, n) }));
  kept.doubles = keep('double', 2, COUNT, (n) => markers.double(2, n));
  kept.mixed = keep('double', 3, COUNT, (n) => ['a string', markers.double(3, n), {}]);
  kept.floats = Float64Array.from(keep('double', 4, COUNT, (n) => markers.double(4, n)));
  kept.small = keep('double', 5, FEW, (n) => Float64Array.of(markers.double(5, n)));
  const view = new DataView(new ArrayBuffer(8));
  kept.bigints = keep('double', 6, FEW, (n) => {
    view.setFloat64(0, markers.double(6, n));
    return view.getBigUint64(0);
  });
  kept.smis = keep('smi', 1, COUNT, (n) => markers.smi(1, n));
}

// --- objects too large for a page ----------------------------------------------------------------

function fillLarge() {
  // One string of 896,000 characters on the heap, and one of 1,120,000: Node keeps the bytes of such outside of it.
  kept.largeString = keepAll('ls', 28_000);
  kept.externalString = keepAll('el', 35_000);

  kept.largeDoubles = new Array(100_000);
  for (let n = 0; n < 100_000; n++) kept.largeDoubles[n] = markers.double(7, n);
  counts.double[7] = 100_000;
  kept.largeSmis = new Array(150_000).fill(0);
  for (let n = 0; n < 50_000; n++) [kept.largeSmis[3 * n], kept.largeSmis[3 * n + 1], kept.largeSmis[3 * n + 2]] = markers.smi(2, n);
  counts.smi[2] = 50_000;
}

function keepAll(kind, count) {
  counts.text[kind] = count;
  const bytes = Buffer.alloc(count * LENGTH);
  for (let n = 0; n < count; n++) markers.write(kind, n, bytes, n * LENGTH);
  const string = bytes.latin1Slice();
  bytes.fill(0); // the string alone shall hold them
  return string;
}

function largeObjectBytes() {
  const spaces = v8.getHeapSpaceStatistics().filter((space) => /large_object_space/.test(space.space_name));
  return spaces.reduce((sum, space) => sum + space.space_used_size, 0);
}

// --- memory outside of the heap ------------------------------------------------------------------

function fillBuffers() {
  const write = (kind, size, allocate) => keep('text', kind, size, (n) => markers.write(kind, n, allocate()));
  kept.pooled = write('bp', COUNT, () => Buffer.allocUnsafe(LENGTH));
  kept.unpooled = write('bs', COUNT, () => Buffer.allocUnsafeSlow(LENGTH));
  kept.mapped = keep('text', 'bm', FEW, (n) => {
    const buffer = Buffer.alloc(300_000);
    markers.write('bm', n, buffer, n * 5000);
    return buffer;
  });
  kept.shared = new Uint8Array(new SharedArrayBuffer(FEW * LENGTH));
  counts.text.sa = FEW;
  for (let n = 0; n < FEW; n++) markers.write('sa', n, kept.shared, n * LENGTH);
  kept.wasm = new WebAssembly.Memory({ initial: 2, maximum: 10 });
  counts.text.wa = FEW;
  for (let n = 0; n < FEW; n++) markers.write('wa', n, new Uint8Array(kept.wasm.buffer), 65_536 + n * LENGTH);
}

/** Strings that leave the heap later in their lives; V8 moves none out that is young. */
function externalize() {
  kept.external = keep('text', 'ex', FEW, (n) => markers.text('ex', n));
  gc();
  gc();
  for (const string of kept.external) externalizeString(string);
}

// --- the capture ---------------------------------------------------------------------------------

const hex = (bytes) => bytes.toString('hex');

/** What a capture must leave as it is. */
function state() {
  const read = (path) => fs.readFileSync(path, 'utf8');
  return [read('/proc/self/limits'), read('/proc/self/coredump_filter'), process.cwd(), process.umask(), os.getPriority(),
    read('/proc/self/oom_score_adj'), read('/proc/self/status').match(/^Sig(Ign|Cgt|Blk).*$/gm)];
}

async function main() {
  const stateBefore = state();
  const largeBefore = largeObjectBytes();
  fillHeap();
  fillLarge();
  fillBuffers();
  const files = folder ? mapAll(folder, mapper) : {};
  if (typeof externalizeString === 'function') externalize();
  gc();
  gc();
  places.old = !isYoung(kept.flat[0]) && !isYoung(kept.objects[COUNT - 1]);
  places.large = isLarge(kept.largeString);
  places.largeMegabytes = (largeObjectBytes() - largeBefore) / 1e6;

  // The young generation was told to be large enough for all this: nothing is moved any more.
  kept.newText = keep('text', 'nf', COUNT, (n) => markers.text('nf', n));
  kept.newWide = keep('wide', 'nw', FEW, (n) => markers.wide('nw', n));
  kept.newObjects = keep('double', 9, COUNT, (n) => ({ n, value: markers.double(9, n) }));
  places.young = [kept.newText, kept.newWide, kept.newObjects].every((list) => isYoung(list[0]) && isYoung(list.at(-1)));

  // These change in the statement behind the call.
  const slot = crypto.randomFillSync(Buffer.alloc(24));
  const before = hex(slot);
  const changing = { value: markers.double(8, 0), text: markers.text('bf', 0) };
  counts.double[8] = counts.text.bf = 1;
  const smaps = fs.readFileSync('/proc/self/smaps');

  const promise = take({ directory });
  for (let i = 0; i < slot.length; i++) slot[i] ^= 0xa5;
  changing.value = markers.double(10, 0);
  changing.text = markers.text('af', 0);

  const path = await promise;
  const mappings = parseMappings(smaps.toString());
  console.log(JSON.stringify({
    path, counts, places, before, after: hex(slot), stateBefore, stateAfter: state(),
    heap: dontforkRanges(mappings, { populated: true }),
    mapped: [...new Set(mappings.map(({ name }) => name).filter((name) => name.startsWith('/')))],
    files,
    v8: process.versions.v8,
    changed: changing.text === markers.text('af', 0),
    kept: Object.keys(kept).length,
  }));
}

main();
