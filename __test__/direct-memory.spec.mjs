// The same memory, whichever way: a core of the kernel's and one read directly hold the same pages.
// (That they are the same for one and the same copy a test of crates/capture shows; here it is Node's memory.)
import assert from 'node:assert/strict';
import { closeSync, existsSync, openSync, readFileSync, readSync } from 'node:fs';
import { tmpdir } from 'node:os';
import test from 'node:test';
import { fileURLToPath } from 'node:url';
import { readElf } from './support/core-file.mjs';
import { temporaryFolder } from './support/files.mjs';
import { nodes } from './support/nodes.mjs';
import { runNode } from './support/run.mjs';

const program = fileURLToPath(new URL('programs/still.cjs', import.meta.url));
const PAGE = 4096;
// The kernel writes its core with idle priority: on a busy disk that takes long.
const inMemory = existsSync('/dev/shm') ? '/dev/shm' : tmpdir();
const ZEROS = Buffer.alloc(PAGE);
const pattern = readFileSync('/proc/sys/kernel/core_pattern', 'utf8').trim();
const noKernelWay = /^[|@/]/.test(pattern) ? `kernel.core_pattern is '${pattern}' here` : false;

/** Every page of a core that is not zero: calls `look(address, bytes)`. */
function eachPage(path, loads, look) {
  const file = openSync(path);
  const buffer = Buffer.alloc(1 << 20);
  try {
    for (const { start, offset, fileSize } of loads) {
      for (let at = 0; at < fileSize; at += buffer.length) {
        const length = readSync(file, buffer, 0, Math.min(buffer.length, fileSize - at), offset + at);
        for (let page = 0; page < length; page += PAGE) {
          const bytes = buffer.subarray(page, page + PAGE);
          if (!bytes.equals(ZEROS)) look(start + BigInt(at + page), bytes);
        }
      }
    }
  } finally {
    closeSync(file);
  }
}

for (const node of await nodes()) {
  // The layout of the heap changed with Node 24.
  if (![22, 24].includes(node.major)) continue;
  test(`a process at rest on ${node.label} has the same pages in both`, { skip: node.skip || noKernelWay }, async (t) => {
    const { stdout, stderr, code } = await runNode(node, program, { execArgv: ['--expose-gc'], args: [temporaryFolder(t, { parent: inMemory }), '64'] });
    assert.equal(stderr, '');
    assert.equal(code, 0);
    const told = JSON.parse(stdout);
    const [kernel, direct] = [told.kernel, told.direct].map(readElf);
    const pages = new Map();
    eachPage(told.kernel, kernel.loads, (address, bytes) => pages.set(address, Buffer.from(bytes)));
    const stamp = `${told.seed}.`;
    let [all, same, stamped] = [0, 0, 0];
    eachPage(told.direct, direct.loads, (address, bytes) => {
      all += 1;
      const other = pages.get(address);
      const equal = other?.equals(bytes) ?? false;
      if (equal) same += 1;
      // A page of a Buffer, wherever malloc made it begin: two of its stamps at least lie whole in one page. The rest of the
      // page may be malloc's, or another's.
      const first = bytes.indexOf(stamp);
      if (first >= 0 && bytes.indexOf(stamp, first + 1) === first + 1024) {
        stamped += 1;
        const between = (page) => page?.toString('latin1', first, first + 1024 + stamp.length);
        assert.equal(between(other), between(bytes), `a page of a Buffer at ${address.toString(16)} differs`);
      }
    });
    t.diagnostic(`${same} of ${all} pages are equal (${((100 * same) / all).toFixed(2)} %), ${stamped} of them stamped`);
    assert.ok(stamped >= told.pages * 0.99, `${stamped} of ${told.pages} stamped pages`);
    assert.ok(same / all > 0.97, `only ${same} of ${all} pages are equal`);

    // And nothing that was written is only in the kernel's. It has file pages too, which the direct one leaves out.
    const left = direct.loads.map(({ start, fileSize }) => [start, start + BigInt(fileSize)]).filter(([start, end]) => start < end).sort((a, b) => (a[0] < b[0] ? -1 : 1));
    const lacking = [...pages.keys()].filter((address) => !left.some(([start, end]) => start <= address && address < end));
    const maps = direct.loads.filter(({ fileSize }) => fileSize === 0);
    const explained = lacking.filter((address) => maps.some(({ start, end }) => start <= address && address < end));
    assert.ok(lacking.length - explained.length < 100, `${lacking.length - explained.length} pages are in the kernel's core alone`);
  });
}
