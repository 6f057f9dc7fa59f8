// Reads ELF files as far as the tests need it, independently of the project's own reader.
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';

const PT_LOAD = 1;
const PT_NOTE = 4;
const NT_PRSTATUS = 1;
const NT_FILE = 0x46494c45;
const NT_SIGINFO = 0x53494749;
const NT_GNU_BUILD_ID = 3;

/** { type, size, expectedSize, loads: [{ start, end, offset, fileSize }], notes: [{ name, kind, content }] } */
export function readElf(path) {
  const file = openSync(path);
  try {
    const read = (at, length) => {
      const bytes = Buffer.alloc(length);
      return bytes.subarray(0, readSync(file, bytes, 0, length, at));
    };
    const header = read(0, 64);
    if (header.toString('latin1', 0, 4) !== '\x7fELF') throw new Error(`${path} is no ELF file`);
    const [tables, entrySize, sections] = [Number(header.readBigUInt64LE(32)), header.readUInt16LE(54), Number(header.readBigUInt64LE(40))];
    let count = header.readUInt16LE(56);
    // More than 65,534: the number stands in the first section header.
    if (count === 0xffff) count = read(sections, 64).readUInt32LE(44);
    const programs = read(tables, count * entrySize);
    const loads = [];
    const notes = [];
    let expectedSize = 0;
    for (let at = 0; at < programs.length; at += entrySize) {
      const [type, offset, start] = [programs.readUInt32LE(at), Number(programs.readBigUInt64LE(at + 8)), programs.readBigUInt64LE(at + 16)];
      const [fileSize, memorySize] = [Number(programs.readBigUInt64LE(at + 32)), programs.readBigUInt64LE(at + 40)];
      expectedSize = Math.max(expectedSize, offset + fileSize);
      if (type === PT_LOAD) loads.push({ start, end: start + memorySize, offset, fileSize });
      if (type === PT_NOTE) notes.push(...parseNotes(read(offset, fileSize)));
    }
    return { type: header.readUInt16LE(16), size: fstatSync(file).size, expectedSize, loads, notes };
  } finally {
    closeSync(file);
  }
}

function parseNotes(bytes) {
  const notes = [];
  const padded = (length) => Math.ceil(length / 4) * 4;
  for (let at = 0; at + 12 <= bytes.length;) {
    const [nameLength, length, kind] = [0, 4, 8].map((offset) => bytes.readUInt32LE(at + offset));
    const content = at + 12 + padded(nameLength);
    notes.push({ name: bytes.toString('latin1', at + 12, at + 12 + nameLength - 1), kind, content: bytes.subarray(content, content + length) });
    at = content + padded(length);
  }
  return notes;
}

/** The GNU build-id in hexadecimal, or null. */
export function buildIdOf(path) {
  return readElf(path).notes.find((note) => note.name === 'GNU' && note.kind === NT_GNU_BUILD_ID)?.content.toString('hex') ?? null;
}

/** What a core says about its process: { signals, files }, the files being those it had mapped. */
export function describeCore(elf) {
  const ofKind = (kind) => elf.notes.filter((note) => note.name === 'CORE' && note.kind === kind);
  const files = ofKind(NT_FILE)[0].content;
  const count = Number(files.readBigUInt64LE(0));
  return {
    threads: ofKind(NT_PRSTATUS).length,
    signal: ofKind(NT_SIGINFO)[0].content.readInt32LE(0),
    files: [...new Set(files.toString('utf8', 16 + count * 24).split('\0').slice(0, count))],
  };
}

/** Those of the ranges ([start, end] in hexadecimal) that are not wholly in the core's file. */
export function missingRanges(elf, ranges) {
  const held = elf.loads.map(({ start, offset, fileSize }) => [start, start + BigInt(Math.max(0, Math.min(fileSize, elf.size - offset)))]);
  held.sort((a, b) => (a[0] < b[0] ? -1 : 1));
  return ranges.filter((range) => {
    let [at, end] = range.map((address) => BigInt(`0x${address}`));
    for (const [from, to] of held) if (from <= at && at < to) at = to;
    return at < end;
  });
}

const NT_PRPSINFO = 3;
const NT_AUXV = 6;

/** The threads of a core in their order: [{ tid, signal, counter, pointer, floating }]. */
export function threadsOf(elf) {
  const threads = [];
  for (const { name, kind, content } of elf.notes) {
    if (name !== 'CORE') continue;
    if (kind === NT_PRSTATUS) {
      const register = (index) => content.readBigUInt64LE(112 + 8 * index);
      // Of x86_64, or of aarch64.
      const [counter, pointer] = content.length === 336 ? [register(16), register(19)] : [register(32), register(31)];
      threads.push({ tid: content.readInt32LE(32), signal: content.readInt16LE(12), counter, pointer, floating: false });
    } else if (kind === 2) {
      threads.at(-1).floating = true;
    }
  }
  return threads;
}

/** What the core says of itself: the vendor note. */
export function madeBy(elf) {
  const notes = elf.notes.filter((note) => note.name === 'stillcore');
  if (notes.length !== 1) throw new Error(`${notes.length} notes of stillcore`);
  return JSON.parse(notes[0].content.toString());
}

/** NT_PRPSINFO, NT_AUXV (in hexadecimal) and NT_FILE: { process, auxv, files: [{ start, end, offset, path }] }. */
export function processOf(elf) {
  const one = (wanted) => {
    const found = elf.notes.filter(({ name, kind }) => name === 'CORE' && kind === wanted);
    if (found.length !== 1) throw new Error(`${found.length} notes of type ${wanted}`);
    return found[0].content;
  };
  const info = one(NT_PRPSINFO);
  const text = (from, to) => info.toString('latin1', from, to).split('\0')[0];
  const [uid, gid, pid, parent, group, session] = [16, 20, 24, 28, 32, 36].map((at) => info.readInt32LE(at));
  const list = one(NT_FILE);
  const count = Number(list.readBigUInt64LE(0));
  const paths = list.toString('latin1', 16 + count * 24).split('\0');
  const files = Array.from({ length: count }, (_, index) => {
    const [start, end, offset] = [0, 8, 16].map((at) => list.readBigUInt64LE(16 + 24 * index + at));
    return { start, end, offset: offset * list.readBigUInt64LE(8), path: paths[index] };
  });
  return { process: { uid, gid, pid, parent, group, session, name: text(40, 56), arguments: text(56, 136) }, auxv: one(NT_AUXV).toString('hex'), files };
}
