// The addon for aarch64, run by qemu where this is another machine. qemu knows no ptrace, gives the service's other threads
// the registers of this machine, and answers for the kernel; what the copy is read by, and what the core says of the calling
// thread, is as it would be.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { nodeOf } from '../scripts/cross.mjs';
import { NoToolchain, platforms, root } from '../scripts/workspace.mjs';
import { describeCore, madeBy, readElf, threadsOf } from './support/core-file.mjs';
import { temporaryFolder } from './support/files.mjs';

const platform = platforms.find(({ cpu }) => cpu === 'arm64');
const binary = join(platform.folder, platform.binary);

test('on aarch64 the addon loads, and takes a core directly', (t) => {
  if (!existsSync(binary)) return t.skip('it was not built: see what `npm run build:release` says');
  let command;
  try {
    command = nodeOf(platform.target);
  } catch (error) {
    if (!(error instanceof NoToolchain)) throw error;
    return t.skip(error.message);
  }
  const folder = temporaryFolder(t);
  for (const name of ['index.js', 'package.json']) copyFileSync(join(root, name), join(folder, name));
  copyFileSync(binary, join(folder, platform.binary));
  const script = `
    const { capture, doctor } = require('./index.js');
    const kept = ['kept-in-the-', 'heap-of-aarch64'].join('');
    const fail = (error) => { console.log(JSON.stringify({ code: error.code, message: error.message })); };
    doctor().then(({ platform, libc, threads }) => capture({ method: 'direct', what: 'core', directory: '.' })
      .then((capture) => console.log(JSON.stringify({ platform, libc, capture, kept })))).catch(fail);
  `;
  const [name, ...rest] = command;
  const { stdout, stderr, status } = spawnSync(name, [...rest, '-e', script], { cwd: folder, encoding: 'utf8', timeout: 120_000 });
  assert.equal(status, 0, stderr);
  const { platform: told, libc, capture, code, message, kept } = JSON.parse(stdout.trim().split('\n').at(-1));
  assert.equal(code, undefined, message);
  assert.equal(told, 'linux-arm64');
  assert.equal(libc.name, 'glibc');
  assert.equal(capture.method, 'direct');

  const elf = readElf(capture.path);
  const core = readFileSync(capture.path);
  assert.equal(elf.type, 4);
  assert.equal(core.readUInt16LE(18), 183, 'EM_AARCH64');
  assert.equal(elf.size, elf.expectedSize);
  assert.ok(core.includes(kept), 'the string is in the core');
  assert.equal(madeBy(elf).method, 'direct');
  assert.ok(describeCore(elf).files.some((file) => file.endsWith(platform.binary)));
  const sizes = elf.notes.filter(({ name: owner }) => owner === 'CORE').map(({ kind, content }) => [kind, content.length]);
  assert.deepEqual(sizes.find(([kind]) => kind === 1), [1, 392], 'struct elf_prstatus');
  assert.deepEqual(sizes.find(([kind]) => kind === 2), [2, 528], 'struct user_fpsimd_state');
  // The calling thread stands in the addon, on its stack.
  const [calling] = threadsOf(elf);
  const { start } = elf.loads.find((load) => load.start <= calling.counter && calling.counter < load.end);
  const stack = elf.loads.find((load) => load.start <= calling.pointer && calling.pointer < load.end);
  assert.ok(start > 0n && stack.fileSize > 0);
  assert.equal(calling.floating, true);
  t.diagnostic(`${capture.bytes} bytes, ${capture.threads.captured} of ${capture.threads.total} threads, pause ${capture.pauseMs.toFixed(1)} ms`);
});
