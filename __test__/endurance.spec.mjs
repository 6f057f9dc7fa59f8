// Two hundred captures in a row: nothing is left of any, and the process does not grow.
import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import test from 'node:test';
import { quickFolder } from './support/files.mjs';
import { asBefore, startSubject, stateOf } from './support/subject.mjs';

const pattern = readFileSync('/proc/sys/kernel/core_pattern', 'utf8').trim();
const noKernelWay = /^[|@/]/.test(pattern) ? `kernel.core_pattern is '${pattern}' here` : false;

for (const [method, major] of [['kernel', 24], ['direct', 22]]) {
  test(`200 captures in a row, ${method}`, { skip: method === 'kernel' && noKernelWay }, async (t) => {
    const directory = quickFolder(t);
    const subject = await startSubject(t, major);
    const captures = async (count) => {
      let size;
      for (let n = 0; n < count; n += 20) size = await some(20);
      return size;
    };
    const some = (count) => subject.run(async ({ createCore, collectCore, require }, directory, method, count) => {
      const { rmSync } = require('node:fs');
      for (let n = 0; n < count; n++) {
        // Every tenth is an archive.
        const path = await (n % 10 === 9 ? collectCore : createCore)({ directory, method });
        rmSync(path.replace(/\/core$/, ''), { recursive: true });
      }
      globalThis.gc?.();
      return process.memoryUsage.rss();
    }, directory, method, count);

    const threads = () => readdirSync(`/proc/${subject.pid}/task`).length;
    // What malloc keeps for the threads that read and compress has by then grown to what they need: 20 MB or so.
    const first = await captures(100);
    const before = stateOf(subject, directory);
    const had = threads();
    const last = await captures(100);
    t.diagnostic(`${(first / 1e6).toFixed(1)} MB after 100 captures, ${(last / 1e6).toFixed(1)} MB after 200`);
    assert.ok(last - first < 8e6, `it grew by ${last - first} bytes`);
    assert.ok(threads() <= had, `${threads()} threads, ${had} before`);
    assert.deepEqual(readdirSync(directory), []);
    await asBefore(subject, before, directory);
  });
}
