// System calls of the direct way that a filter refuses, or kills for: the service lives, and gets a whole core or a
// clear error.
import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import test from 'node:test';
import { captureIn, mustCapture } from './support/captures.mjs';
import { noFilters, refusing } from './support/conditions.mjs';
import { threadsOf } from './support/core-file.mjs';
import { temporaryFolder } from './support/files.mjs';
import { asBefore, startSubject, stateOf } from './support/subject.mjs';

// subject.mjs asks for the kernel's way.
process.env.STILLCORE_METHOD = 'auto';

const skip = noFilters();
const asked = { method: 'direct' };
const inMemory = { parent: '/dev/shm' };
const SYSCALL = /could not be stopped/;
const PARTLY = /stack pointer and program counter only/;
const CALLING = /calling thread only/;
const PTRACER = 'prctl:0=0x59616d61';
const HELPER = 'clone:0=0xa00700'; // CLONE_VM, FS, FILES, UNTRACED, CHILD_CLEARTID
const PIDFD = 'clone:0&0x1000';

async function start(t, rules, { node = 22, ...options } = {}) {
  const cwd = temporaryFolder(t, inMemory);
  const subject = await startSubject(t, node, { wrap: ['prlimit', '--core=unlimited', ...refusing(...rules)], cwd, ...options });
  return { subject, cwd, directory: temporaryFolder(t, inMemory) };
}

/** That what is refused is noticed at once: threads get 50 ms to stop. On a machine with much to do it may take some tries. */
async function assertQuick(subject, directory, first) {
  const pauses = [first];
  while (Math.min(...pauses) >= 40 && pauses.length < 8) {
    const { pauseMs } = await mustCapture(subject, directory, {}, asked);
    pauses.push(pauseMs);
  }
  assert.ok(Math.min(...pauses) < 40, `${pauses} ms`);
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

// What a plain service does not call, and a filter may kill for: a child finds out.
const avoided = [
  `${PIDFD}:KILL`, `${PIDFD}:KILL_THREAD`, 'pidfd_send_signal:KILL', 'waitid:KILL', 'renameat2:KILL', 'setpriority:KILL', 'close_range:KILL',
  'fcntl:1=1031:KILL', 'prctl:0=3:KILL', 'poll:KILL', 'getpgrp:KILL', 'getsid:KILL', 'sendto:KILL', 'ioprio_set:KILL',
];
const NAME = 'prctl:0=15:KILL'; // PR_SET_NAME: Node itself makes this call since 22
for (const rules of [...avoided.map((rule) => [rule]), [NAME], [...avoided.filter((rule) => !rule.endsWith('THREAD')), NAME]]) {
  test(`${rules.length > 1 ? 'all these together' : rules[0]}: a whole core with every thread, by both ways`, { skip }, async (t) => {
    const { subject, directory, cwd } = await start(t, rules, { node: rules.includes(NAME) ? 20 : 22 });
    for (const method of ['direct', 'kernel']) {
      for (let times = 0; times < 2; times += 1) {
        const { threads, notes, pauseMs } = await mustCapture(subject, directory, { method }, { method });
        assert.equal(threads.captured, threads.total);
        assert.deepEqual(notes, []);
        if (rules.length > 1) t.diagnostic(`${method}: pause ${pauseMs.toFixed(1)} ms`);
      }
    }
    const bytes = await subject.run(async ({ stillcore }) => {
      let bytes = 0;
      for await (const chunk of stillcore.streamCore()) bytes += chunk.length;
      return bytes;
    });
    assert.ok(bytes > 1 << 20, `${bytes} bytes streamed`);
    assert.deepEqual(readdirSync(cwd), [], 'no core of a killed child');
  });
}

// What keeps the other threads from being stopped.
for (const rules of [
  ['ptrace:EPERM'], ['ptrace:ENOSYS'], ['ptrace:KILL'],
  ['ptrace:0=0x4207:EPERM'], // PTRACE_INTERRUPT: seized, and never stopped
  ['wait4:EPERM'], ['wait4:ENOSYS'], ['wait4:KILL'],
  [`${HELPER}:EPERM`], [`${HELPER}:KILL`],
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
    if (name.startsWith('ptrace')) await assertQuick(subject, directory, pauseMs);
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

// The threads stop, and how their registers may be read is limited: by an older call, or from /proc as far as that tells.
const GETREGSET = 'ptrace:0=0x4204';
const GETREGS = 'ptrace:0=12';
for (const [rules, partly] of [
  [[`${GETREGSET}:EPERM`], false], [[`${GETREGSET}:2=2:EPERM`], false],
  [[`${GETREGSET}:EPERM`, `${GETREGS}:EPERM`], true], [[`${GETREGSET}:ENOSYS`, `${GETREGS}:ENOSYS`], true],
]) {
  test(`${rules.join(' ')}: every thread, ${partly ? 'by stack pointer and program counter' : 'with all registers'}`, {
    skip: skip || (process.arch === 'x64' ? false : 'the older call is of x86_64'),
  }, async (t) => {
    const { subject, directory } = await start(t, rules);
    await subject.run(({ kept, require }) => {
      const { Worker } = require('node:worker_threads');
      kept.worker = new Worker('require("node:worker_threads").parentPort.postMessage(1); for (;;);', { eval: true });
      return new Promise((resolve) => kept.worker.once('message', resolve));
    });
    for (const method of ['direct', 'kernel']) {
      const { threads, notes, pauseMs, elf } = await mustCapture(subject, directory, { method }, { method });
      assert.equal(threads.captured, threads.total);
      assert.deepEqual(notes.map((note) => PARTLY.test(note)), partly ? [true] : [], JSON.stringify(notes));
      await assertQuick(subject, directory, pauseMs);
      // Each has its place, also the one that runs.
      for (const { tid, counter, pointer, floating } of threadsOf(elf).slice(1)) {
        for (const at of [counter, pointer]) {
          assert.ok(elf.loads.some(({ start, end }) => start <= at && at < end), `thread ${tid}: ${at.toString(16)} is not mapped`);
        }
        assert.equal(floating, !partly);
      }
    }
  });
}

// What a capture cannot do without: a clear error. Where a filter kills, it kills the copy.
for (const [rules, codes] of [
  [['sendmsg:EPERM'], ['ERR_CORE_KILLED', 'ERR_CORE_DENIED']],
  [['sendmsg:ENOSYS'], ['ERR_CORE_KILLED', 'ERR_CORE_DENIED']],
  [['sendmsg:KILL'], ['ERR_CORE_KILLED']],
  [['prctl:0=1:KILL'], ['ERR_CORE_KILLED']],
  [['madvise:2=11:KILL'], ['ERR_CORE_INCOMPLETE']],
  [['madvise:2=11:KILL_THREAD'], ['ERR_CORE_INCOMPLETE']],
  [['flock:KILL'], ['ERR_CORE_DENIED']],
  [['recvmsg:KILL'], ['ERR_CORE_DENIED']],
  [['clone:0=0x1000:KILL', 'clone:0=0:KILL'], ['ERR_CORE_DENIED']],
  [['clone:0=0x1000:KILL', 'clone:0=0:EPERM'], ['EPERM']],
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

// The hardest filter: made from what a plain service was seen to do, and what it can by node:fs, and it kills for all else.
// Numbers of x86_64.
const PLAIN = [
  'clone:0=0x1200011', 'madvise:2=4', 'madvise:2=8', 'madvise:2=10', 'wait4:2=0', 'wait4:2=1', 'prctl:0=15', 'prctl:0=0x53564d41',
  ...[
    0, 1, 2, 3, 4, 5, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 24, 25, 32, 33, 39, 41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51,
    53, 54, 55, 59, 60, 62, 63, 72, 74, 75, 76, 77, 78, 79, 80, 82, 83, 84, 86, 87, 88, 89, 90, 91, 95, 96, 97, 98, 99, 102, 104, 107, 108, 110, 125,
    131, 137, 138, 158, 186, 202, 204, 217, 218, 221, 231, 232, 233, 234, 257, 258, 262, 263, 267, 268, 269, 273, 281, 288, 290,
    291, 292, 293, 299, 302, 307, 318, 326, 330, 332, 334, 425, 426, 427, 435, 441,
  ].map(String),
].map((rule) => `${rule}:ALLOW`);
test('a filter made from what a plain service does, that kills for all else: a clear error, and the service lives', {
  skip: skip || (process.arch === 'x64' ? false : 'the list has the numbers of x86_64'),
}, async (t) => {
  const { subject, directory, cwd } = await start(t, [...PLAIN, 'OTHERS:KILL']);
  for (const method of ['auto', 'direct', 'kernel']) {
    const before = stateOf(subject, directory);
    const { error, capture } = await captureIn(subject, { directory, what: 'core', method });
    assert.equal(capture, undefined);
    assert.ok(['ERR_CORE_INCOMPLETE', 'ERR_CORE_DENIED'].includes(error.code), JSON.stringify(error));
    assert.match(error.message, /seccomp/);
    await asBefore(subject, before, directory);
  }
  const { ok } = await subject.run(({ stillcore }) => stillcore.doctor());
  assert.equal(typeof ok, 'boolean');
  assert.deepEqual(readdirSync(cwd), []);
});
