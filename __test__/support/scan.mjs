// Looks for bytes in cores: for the markers of programs/markers.cjs, and for any others.
import { closeSync, openSync, readSync } from 'node:fs';
import markersModule from '../programs/markers.cjs';

const { LENGTH, Markers, PREFIX } = markersModule;
const STEP = 4 << 20;
const ZEROS = Buffer.alloc(1 << 20);

/** The bytes of a file in pieces, for scan(). A piece is only valid until the next. */
export function* pieces(path) {
  const file = openSync(path);
  try {
    const buffer = Buffer.alloc(STEP);
    for (let at = 0, got; (got = readSync(file, buffer, 0, STEP, at)) > 0; at += got) yield buffer.subarray(0, got);
  } finally {
    closeSync(file);
  }
}

/**
 * Reads bytes that come in pieces, in any order of reading but never twice, and calls each finder with windows of them:
 * a window ends where the next begins, but for the last `overlap` bytes, which it shares with it.
 */
export async function scan(source, finders, overlap = 4 * LENGTH) {
  let carried = Buffer.alloc(0);
  for await (const piece of source) {
    // Cores of Node 24 and later are mostly holes.
    if (isZero(piece)) {
      carried = Buffer.alloc(0);
      continue;
    }
    // Copied, since a piece may be overwritten by the next.
    const window = Buffer.concat([carried, piece]);
    for (const finder of finders) finder.look(window);
    carried = window.subarray(Math.max(0, window.length - overlap));
  }
}

function isZero(bytes) {
  for (let at = 0; at < bytes.length; at += ZEROS.length) {
    const part = bytes.subarray(at, at + ZEROS.length);
    if (!part.equals(ZEROS.subarray(0, part.length))) return false;
  }
  return true;
}

function* occurrences(bytes, needle) {
  for (let at = bytes.indexOf(needle); at !== -1; at = bytes.indexOf(needle, at + 1)) yield at;
}

/** Finds given byte strings: `found.has(name)` after the scan. */
export class Finder {
  found = new Set();
  #needles;

  /** @param {Record<string, Uint8Array>} needles */
  constructor(needles) {
    this.#needles = Object.entries(needles);
  }

  look(bytes) {
    for (const [name, needle] of this.#needles) {
      if (!this.found.has(name) && bytes.includes(needle)) this.found.add(name);
    }
  }
}

/** Finds the markers of a seed. */
export class MarkerFinder {
  #markers;
  #found = { text: new Map(), wide: new Map(), double: new Map(), smi: new Map() };
  #needles;

  constructor(seed) {
    const markers = (this.#markers = new Markers(seed));
    const prefix = Buffer.from(markers.prefix);
    const double = Buffer.alloc(8);
    double.writeDoubleLE(markers.double(0, 0));
    this.#needles = {
      text: prefix,
      wide: Buffer.from(prefix.toString('latin1'), 'utf16le'),
      double: double.subarray(3), // 24 bits vary from one to the next
      smi: smis(markers.smis),
    };
  }

  look(bytes) {
    const { text, wide, double, smi } = this.#needles;
    for (const at of occurrences(bytes, text)) this.#text('text', bytes.subarray(at, at + LENGTH));
    for (const at of occurrences(bytes, wide)) {
      const both = bytes.subarray(at, at + 2 * LENGTH);
      const narrow = both.filter((_, i) => i % 2 === 0);
      if (both.every((byte, i) => i % 2 === 0 || byte === 0)) this.#text('wide', narrow);
    }
    for (const at of occurrences(bytes, double)) {
      if (at < 3) continue;
      const low = bytes.readUIntLE(at - 3, 3);
      this.#note('double', low >>> 19, low & 0x7ffff);
    }
    for (const at of occurrences(bytes, smi)) {
      if (at + smi.length + 8 > bytes.length || bytes.readUInt32LE(at + smi.length) !== 0) continue;
      const value = bytes.readUInt32LE(at + smi.length + 4);
      this.#note('smi', value >>> 20, value & 0xfffff);
    }
  }

  #text(coding, bytes) {
    if (bytes.length < LENGTH) return;
    const [kind, number] = [bytes.toString('latin1', PREFIX, PREFIX + 2), Number(bytes.toString('latin1', PREFIX + 2, PREFIX + 9))];
    if (!/^[a-z]{2}$/.test(kind) || !Number.isInteger(number)) return;
    // Only whole ones count.
    if (bytes.equals(this.#markers.write(kind, number, Buffer.alloc(LENGTH)))) this.#note(coding, kind, number);
  }

  #note(coding, kind, number) {
    const kinds = this.#found[coding];
    kinds.set(String(kind), (kinds.get(String(kind)) ?? new Set()).add(number));
  }

  /** How many of markers 0 ... count - 1 were found. */
  count(coding, kind, count = Infinity) {
    return [...(this.#found[coding].get(String(kind)) ?? [])].filter((number) => number < count).length;
  }

  /** The same in the shape of `counts`, as programs/heap.cjs tells what it made: { text: { of: 1500, ... }, ... }. */
  counts(counts) {
    return Object.fromEntries(Object.entries(counts).map(([coding, kinds]) => [
      coding,
      Object.fromEntries(Object.entries(kinds).map(([kind, count]) => [kind, this.count(coding, kind, count)])),
    ]));
  }
}

/** Small integers as V8 has them in arrays on 64-bit machines without pointer compression: in the upper half of a word. */
function smis(values) {
  const words = Buffer.alloc(values.length * 8);
  values.forEach((value, i) => words.writeUInt32LE(value, i * 8 + 4));
  return words;
}
