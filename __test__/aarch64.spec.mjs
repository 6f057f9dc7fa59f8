// The addon for aarch64, run by qemu where this is another machine. qemu knows no ptrace, gives the service's other threads
// the registers of this machine, and answers for the kernel; what the copy is read by, and what the core says of the calling
// thread, is as it would be.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { nodeOf } from '../scripts/cross.mjs';
import { commands, manifest, NoToolchain, platforms, root } from '../scripts/workspace.mjs';
import { describeCore, madeBy, readElf, threadsOf } from './support/core-file.mjs';
import { temporaryFolder } from './support/files.mjs';

const platform = platforms.find(({ cpu }) => cpu === 'arm64');
const binary = join(platform.folder, platform.binary);
const command = commands.find(({ cpu }) => cpu === 'arm64');
const stillcore = join(command.folder, command.binary);
const unbuilt = 'it was not built: see what `npm run build:release` says';

/** What runs a Node of that machine here; skips the test where that cannot be had. */
function runner(t) {
  try {
    return nodeOf(platform.target);
  } catch (error) {
    if (!(error instanceof NoToolchain)) throw error;
    t.skip(error.message);
  }
}

test('on aarch64 the addon loads, and takes a core directly', (t) => {
  if (!existsSync(binary)) return t.skip(unbuilt);
  const node = runner(t);
  if (!node) return;
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
  const [name, ...rest] = node;
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

// The core of a process of this machine: which machine reads it does not matter.
test('on aarch64 the command runs, and reads cores', (t) => {
  if (!existsSync(stillcore)) return t.skip(unbuilt);
  const node = runner(t);
  if (!node) return;
  const folder = temporaryFolder(t);
  const script = `require('./index.js').createCore({ directory: process.argv[1], method: 'direct' }).then((path) => console.log(path))`;
  const made = spawnSync(process.execPath, ['-e', script, folder], { cwd: root, encoding: 'utf8' });
  assert.equal(made.status, 0, made.stderr);
  const core = made.stdout.trim();
  // All but Node itself: qemu, or nothing at all on that machine.
  const [name, ...rest] = [...node.slice(0, -1), stillcore];
  const run = (...args) => spawnSync(name, [...rest, ...args], {
    encoding: 'utf8', timeout: 120_000, maxBuffer: 1 << 28, env: { ...process.env, XDG_CACHE_HOME: folder },
  });
  assert.equal(run('--version').stdout.trim(), `stillcore ${manifest.version}`);
  const info = run('info', '--json', core);
  assert.equal(info.status, 0, info.stderr);
  const { how, machine, node: version } = JSON.parse(info.stdout);
  assert.deepEqual([how, machine, version], ['captured', process.arch === 'arm64' ? 'aarch64' : 'x86_64', process.versions.node]);
  const bt = run('bt', '--json', '--frames', '5', core);
  assert.equal(bt.status, 0, bt.stderr);
  assert.ok(JSON.parse(bt.stdout).threads[0].frames.length > 1);
  assert.equal(run('info').status, 2);
});
