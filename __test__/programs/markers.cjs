'use strict';
// Markers: what the programs put into every kind of memory, and what the tests look for in a core (support/scan.mjs).
// All of them follow from a seed of a few letters, which is all that a program is told, so that what is found in a
// core was put there by the program and not by its command line or its source.
//
// A text marker is 32 bytes, the same whether a string or a Buffer holds it:
//
//   9 letters of the seed | 2 of its kind | 7 digits of its number | 14 letters that follow from all of these
//
// A double marker is between 1 and 2; its bits are 28 of the seed, 5 of its kind, 19 of its number. A Smi marker is a
// run of three Smis in an array: two of the seed, one of kind and number.

const LENGTH = 32;
const PREFIX = 9;
const LETTERS = 'abcdefghjkmnpqrstuvwxyz';

/** A reproducible stream of 32-bit numbers (mulberry32). */
function numbers(state) {
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return (t ^ (t >>> 14)) >>> 0;
  };
}

class Markers {
  constructor(seed) {
    let hash = 0x811c9dc5;
    for (const letter of seed) hash = Math.imul(hash ^ letter.charCodeAt(0), 0x01000193);
    this.hash = hash >>> 0;
    const next = numbers(hash);
    this.prefix = Uint8Array.from({ length: PREFIX }, () => LETTERS.charCodeAt(next() % LETTERS.length));
    this.mantissa = next() & 0xfffffff;
    this.smis = [next() & 0x3fffffff, next() & 0x3fffffff];
    this.scratch = new Uint8Array(LENGTH);
    this.view = new DataView(new ArrayBuffer(8));
  }

  /** Writes text marker `n` of a kind (two letters) to `target`, byte by byte: no string of it comes to be. */
  write(kind, n, target, at = 0) {
    target.set(this.prefix, at);
    const [a, b] = [kind.charCodeAt(0), kind.charCodeAt(1)];
    target[at + PREFIX] = a;
    target[at + PREFIX + 1] = b;
    for (let digit = 6, rest = n; digit >= 0; digit--, rest = Math.floor(rest / 10)) target[at + PREFIX + 2 + digit] = 48 + (rest % 10);
    const next = numbers(this.hash ^ Math.imul(a * 256 + b, 0x9e3779b1) ^ Math.imul(n + 1, 0x85ebca6b));
    for (let i = PREFIX + 9; i < LENGTH; i++) target[at + i] = LETTERS.charCodeAt(next() % LETTERS.length);
    return target;
  }

  /** The same as a string: flat and of one-byte characters. */
  text(kind, n) {
    return String.fromCharCode(...this.write(kind, n, this.scratch));
  }

  /** As a string whose characters take two bytes each. */
  wide(kind, n) {
    return String.fromCharCode(...this.write(kind, n, this.scratch), 0x2603);
  }

  double(kind, n) {
    const bits = (BigInt(this.mantissa) << 24n) | (BigInt(kind) << 19n) | BigInt(n);
    this.view.setBigUint64(0, (0x3ffn << 52n) | bits);
    return this.view.getFloat64(0);
  }

  /** Three elements for an array of Smis. */
  smi(kind, n) {
    return [...this.smis, (kind << 20) | n];
  }
}

module.exports = { Markers, LENGTH, PREFIX };
