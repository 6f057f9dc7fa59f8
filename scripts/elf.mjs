// The little that the release checks ask of a 64-bit little-endian ELF file: which libraries it needs, and which
// version of glibc. Read from the file itself, so that no binutils are needed.
import { readFileSync } from 'node:fs';

const SHT_DYNAMIC = 6;
const SHT_GNU_VERNEED = 0x6ffffffe;
const DT_NEEDED = 1n;

/** { libraries: ['libc.so.6', ...], glibc: '2.28' }: what the loader must find to load this file. */
export function requirements(path) {
  const file = readFileSync(path);
  if (file.readUInt32BE(0) !== 0x7f454c46 || file[4] !== 2 || file[5] !== 1) throw new Error(`${path} is no 64-bit little-endian ELF file`);

  const sections = [];
  const table = Number(file.readBigUInt64LE(0x28));
  for (let index = 0; index < file.readUInt16LE(0x3c); index += 1) {
    const at = table + index * file.readUInt16LE(0x3a);
    sections.push({
      type: file.readUInt32LE(at + 4),
      offset: Number(file.readBigUInt64LE(at + 0x18)),
      size: Number(file.readBigUInt64LE(at + 0x20)),
      link: file.readUInt32LE(at + 0x28),
      entries: file.readUInt32LE(at + 0x2c),
    });
  }
  const text = (section, offset) => {
    const start = sections[section.link].offset + offset;
    return file.toString('latin1', start, file.indexOf(0, start));
  };

  const dynamic = sections.find((section) => section.type === SHT_DYNAMIC);
  // Without this table there would be nothing to read, and the check would pass for want of facts.
  if (!dynamic) throw new Error(`${path} has no dynamic section`);
  const libraries = [];
  for (let at = dynamic.offset; at < dynamic.offset + dynamic.size; at += 16) {
    if (file.readBigInt64LE(at) === DT_NEEDED) libraries.push(text(dynamic, Number(file.readBigUInt64LE(at + 8))));
  }

  const versions = [];
  for (const section of sections.filter((one) => one.type === SHT_GNU_VERNEED)) {
    for (let library = section.offset, left = section.entries; left > 0; left -= 1) {
      let symbol = library + file.readUInt32LE(library + 8);
      for (let symbols = file.readUInt16LE(library + 2); symbols > 0; symbols -= 1) {
        versions.push(text(section, file.readUInt32LE(symbol + 8)));
        symbol += file.readUInt32LE(symbol + 12);
      }
      library += file.readUInt32LE(library + 12);
    }
  }
  const glibc = versions.filter((name) => /^GLIBC_\d/.test(name)).map((name) => name.slice('GLIBC_'.length));
  return { libraries, glibc: glibc.sort(compareVersions).at(-1) };
}

/** Orders version numbers: 2.9 before 2.17 before 2.28.1. */
export function compareVersions(one, other) {
  const [a, b] = [one, other].map((version) => version.split('.').map(Number));
  for (let index = 0; index < Math.max(a.length, b.length); index += 1) {
    const difference = (a[index] ?? 0) - (b[index] ?? 0);
    if (difference) return difference;
  }
  return 0;
}
