// System calls of the direct way that a filter refuses, or kills for: the service lives, and gets a whole core or a
// clear error.
import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import test from 'node:test';
import { captureIn, mustCapture } from './support/captures.mjs';
import { noFilters, refusing } from './support/conditions.mjs';
import { temporaryFolder } from './support/files.mjs';
import { asBefore, startSubject, stateOf } from './support/subject.mjs';

// subject.mjs asks for the kernel's way.
process.env.STILLCORE_METHOD = 'auto';

const skip = noFilters();
const asked = { method: 'direct' };
const inMemory = { parent: '/dev/shm' };
const SYSCALL = /could not be stopped/;
const CALLING = /calling thread only/;
const PTRACER = 'prctl:0=0x59616d61';
const HELPER = 'clone:0=0xa00700'; // CLONE_VM, FS, FILES, UNTRACED, CHILD_CLEARTID
const PIDFD = 'clone:0&0x1000';

async function start(t, rules, options = {}) {
  const cwd = temporaryFolder(t, inMemory);
  const subject = await startSubject(t, 22, { wrap: ['prlimit', '--core=unlimited', ...refusing(...rules)], cwd, ...options });
  return { subject, cwd, directory: temporaryFolder(t, inMemory) };
}

// What a core is not worse for.
const PAGEMAP_SCAN = 'ioctl:1=0xc0606610';
const unneeded = ['process_vm_readv', 'userfaultfd', PTRACER, PAGEMAP_SCAN].flatMap((call) => ['EPERM', 'ENOSYS', 'KILL'].map((action) => `${call}:${action}`));
for (const rule of [...unneeded, `${PIDFD}:EPERM`, `${PIDFD}:ENOSYS`]) {
  test(`${rule}: a whole core with every thread`, { skip }, async (t) => {
    const { subject, directory, cwd } = await start(t, [rule]);
    const { threads, notes } = await mustCapture(subject, directory, { method: 'direct' }, asked);
    assert.equal(threads.captured, threads.total);
    assert.deepEqual(notes, []);
    assert.deepEqual(readdirSync(cwd), []);
  });
}

// What keeps the other threads from being stopped.
for (const rules of [
  ['ptrace:EPERM'], ['ptrace:ENOSYS'], ['ptrace:KILL'],
  ['ptrace:0=0x4207:EPERM'], // PTRACE_INTERRUPT: seized, and never stopped
  ['ptrace:0=0x4204:EPERM'], // PTRACE_GETREGSET: stopped, and nothing to be had
  ['wait4:EPERM'], ['wait4:ENOSYS'], ['wait4:KILL'],
  [`${HELPER}:EPERM`],
  ['prctl:0=1:EPERM'],
]) {
  const name = rules.join(' ');
  test(`${name}: a whole core, and of threads what can be had`, { skip }, async (t) => {
    const { subject, directory, cwd } = await start(t, rules);
    // One that runs: nothing but ptrace tells where.
    await subject.run(({ kept, require }) => {
      const { Worker } = require('node:worker_threads');
      kept.worker = new Worker('require("node:worker_threads").parentPort.postMessage(1); for (;;);', { eval: true });
      return new Promise((resolve) => kept.worker.once('message', resolve));
    });
    const before = stateOf(subject, directory);
    const killsOwn = name.startsWith('wait4');
    // The service's own children need wait4: without it, it cannot be asked for one.
    const { capture, error } = killsOwn
      ? await captureIn(subject, { directory, what: 'core', ...asked })
      : { capture: await mustCapture(subject, directory, { method: 'direct' }, asked) };
    assert.equal(error, undefined, JSON.stringify(error));
    const { threads, notes, pauseMs } = capture;
    t.diagnostic(`${threads.captured} of ${threads.total} threads, pause ${pauseMs.toFixed(1)} ms, ${notes.join(' ')}`);
    assert.ok(pauseMs < 1500, `${pauseMs} ms`);
    if (!name.startsWith('prctl')) {
      assert.ok(threads.captured < threads.total, JSON.stringify(threads));
      assert.ok(notes.some((note) => SYSCALL.test(note) || CALLING.test(note)), JSON.stringify(notes));
    }
    assert.deepEqual(readdirSync(cwd), [], 'no core of a killed helper');
    for (const line of await subject.run(({ require }) => {
      const { readFileSync, readdirSync } = require('node:fs');
      return readdirSync('/proc/self/task').map((tid) => /^TracerPid:.*$/m.exec(readFileSync(`/proc/self/task/${tid}/status`, 'latin1'))[0]);
    })) assert.equal(line, 'TracerPid:\t0');
    if (!killsOwn) await asBefore(subject, before, directory);
  });
}

// What a capture cannot do without: a clear error. Where a filter kills, it kills the copy.
for (const [rules, codes] of [
  [['sendmsg:EPERM'], ['ERR_CORE_KILLED', 'ERR_CORE_DENIED']],
  [['sendmsg:ENOSYS'], ['ERR_CORE_KILLED', 'ERR_CORE_DENIED']],
  [['sendmsg:KILL'], ['ERR_CORE_KILLED']],
  [['prctl:0=1:KILL'], ['ERR_CORE_KILLED']],
]) {
  test(`${rules.join(' ')}: a clear error, and the service lives`, { skip }, async (t) => {
    const { subject, directory, cwd } = await start(t, rules);
    for (const method of ['direct', 'auto']) {
      const before = stateOf(subject, directory);
      const { error, capture } = await captureIn(subject, { directory, what: 'core', method });
      assert.equal(capture, undefined);
      assert.ok(codes.includes(error.code), JSON.stringify(error));
      assert.ok(error.message.length > 20, error.message);
      await asBefore(subject, before, directory);
    }
    assert.deepEqual(readdirSync(cwd), []);
  });
}
