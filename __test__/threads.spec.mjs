// Threads in every state that they may be in at the instant of the fork: their registers are in the core, or it is said
// that they are not, and they go on as if nothing had been.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { readFileSync, readdirSync } from 'node:fs';
import test from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { works } from '../scripts/workspace.mjs';
import { captureIn, mustCapture } from './support/captures.mjs';
import { meddle } from './support/conditions.mjs';
import { threadsOf } from './support/core-file.mjs';
import { temporaryFolder, waitFor } from './support/files.mjs';
import { answers, asBefore, children, descriptors, startSubject, stateOf } from './support/subject.mjs';

// subject.mjs asks for the kernel's way.
process.env.STILLCORE_METHOD = 'auto';

const direct = { method: 'direct', fallback: undefined };
const asked = { method: 'direct' };
const inMemory = { parent: '/dev/shm' };

function statusOf(pid, name, tid = pid) {
  return new RegExp(`^${name}:\\s*(.*)$`, 'm').exec(readFileSync(`/proc/${pid}/task/${tid}/status`, 'latin1'))?.[1];
}

test('a thread that blocks all signals, and one that blocks some', async (t) => {
  const directory = temporaryFolder(t, inMemory);
  const subject = await startSubject(t, 22);
  await meddle(subject, 'block:10');
  const tids = readdirSync(`/proc/${subject.pid}/task`).map(Number);
  const blocking = tids.filter((tid) => /^ffff/.test(statusOf(subject.pid, 'SigBlk', tid)));
  assert.ok(blocking.length >= 1, 'Node\'s own SignalInspector blocks all');
  const { threads, elf } = await mustCapture(subject, directory, direct, asked);
  assert.equal(threads.captured, threads.total);
  const found = threadsOf(elf).map(({ tid }) => tid);
  for (const tid of blocking) assert.ok(found.includes(tid), `thread ${tid} blocks all signals, and is there`);
});

test('threads: \'calling\' leaves the others alone', async (t) => {
  const directory = temporaryFolder(t, inMemory);
  const subject = await startSubject(t, 24);
  const { threads, notes, elf } = await mustCapture(subject, directory, direct, { ...asked, threads: 'calling' });
  assert.equal(threads.captured, 1);
  assert.ok(threads.total > 5);
  assert.deepEqual(threadsOf(elf).map(({ tid }) => tid), [subject.pid]);
  assert.ok(notes.some((note) => /calling thread only/.test(note)), JSON.stringify(notes));
});

test('200 threads', async (t) => {
  const directory = temporaryFolder(t, inMemory);
  const subject = await startSubject(t, 20, { env: { UV_THREADPOOL_SIZE: '200' } });
  await subject.run(async ({ require }) => {
    const { promises } = require('node:fs');
    await Promise.all(Array.from({ length: 400 }, () => promises.stat('/')));
  });
  await waitFor(() => readdirSync(`/proc/${subject.pid}/task`).length > 200);
  const { threads, elf, pauseMs } = await mustCapture(subject, directory, direct, asked);
  t.diagnostic(`pause ${pauseMs.toFixed(1)} ms`);
  assert.ok(threads.total > 200);
  assert.equal(threads.captured, threads.total);
  assert.equal(new Set(threadsOf(elf).map(({ tid }) => tid)).size, threads.total);
  assert.ok(pauseMs < 500, `${pauseMs} ms`);
});

test('of a thread in uninterruptible sleep the core has its place, and the pause has an end', async (t) => {
  const directory = temporaryFolder(t, inMemory);
  const subject = await startSubject(t, 22);
  // The parent of a vfork sleeps so until its child calls exec.
  await meddle(subject, 'vfork:3');
  await waitFor(() => readdirSync(`/proc/${subject.pid}/task`).some((tid) => /^D/.test(statusOf(subject.pid, 'State', tid) ?? '')));
  const { capture, error } = await captureIn(subject, { directory, what: 'core', ...asked });
  assert.equal(error, undefined);
  assert.equal(capture.threads.captured, capture.threads.total, JSON.stringify(capture.threads));
  assert.ok(capture.notes.some((note) => /^1 of \d+ threads did not stop in time .*stack pointer and program counter only/.test(note)), JSON.stringify(capture.notes));
  assert.ok(capture.pauseMs < 1000, `${capture.pauseMs} ms`);
  await answers(subject);
});

for (const [tool, args] of [
  ['strace', (pid) => ['-f', '-o', '/dev/null', '-p', String(pid)]],
  ['gdb', (pid) => ['-nx', '-batch', '-p', String(pid), '-ex', 'continue']],
]) {
  test(`a process that ${tool} has attached to: own memory whole, the other threads as far as /proc tells`, { skip: works(tool, ['--version']) ? false : `${tool} is not installed here` }, async (t) => {
    const directory = temporaryFolder(t, inMemory);
    const subject = await startSubject(t, 22);
    const tracer = spawn(tool, args(subject.pid), { stdio: ['ignore', 'ignore', 'ignore'] });
    t.after(() => tracer.kill('SIGKILL'));
    await waitFor(() => readdirSync(`/proc/${subject.pid}/task`).every((tid) => statusOf(subject.pid, 'TracerPid', tid) !== '0'));
    await waitFor(() => !/^t/.test(statusOf(subject.pid, 'State')), { what: `${tool} to let it go on` });
    if (tool === 'gdb') await sleep(500);
    const { threads, notes } = await mustCapture(subject, directory, direct, asked);
    assert.ok(threads.captured > 1 && threads.captured <= threads.total, JSON.stringify(threads));
    assert.ok(notes.some((note) => /could not be stopped/.test(note)), JSON.stringify(notes));
    // The tracer still has it.
    assert.equal(statusOf(subject.pid, 'TracerPid'), String(tracer.pid));
    const gone = new Promise((resolve) => tracer.once('exit', resolve));
    tracer.kill('SIGINT');
    tracer.kill('SIGTERM');
    await Promise.race([gone, sleep(3000).then(() => tracer.kill('SIGKILL'))]);
    await waitFor(() => statusOf(subject.pid, 'TracerPid') === '0');
    const again = await mustCapture(subject, directory, direct, asked);
    assert.equal(again.threads.captured, again.threads.total);
  });
}

test('nobody is left traced, and no helper behind', async (t) => {
  const directory = temporaryFolder(t, inMemory);
  const subject = await startSubject(t, 26);
  await mustCapture(subject, directory, direct, asked);
  for (const tid of readdirSync(`/proc/${subject.pid}/task`)) assert.equal(statusOf(subject.pid, 'TracerPid', tid), '0');
  assert.deepEqual(children(subject.pid), []);
});

test('a heap that grows and is collected at full speed meanwhile', async (t) => {
  const directory = temporaryFolder(t, inMemory);
  const subject = await startSubject(t, 24, { execArgv: ['--max-old-space-size=512'] });
  await subject.run(({ kept, require }) => {
    const { Worker } = require('node:worker_threads');
    kept.turning = true;
    const work = () => {
      const live = [];
      for (let i = 0; i < 20_000; i++) live.push({ i, text: `number ${i}`, list: new Array(i % 50).fill(i) });
      kept.live = live;
      if (kept.turning) setImmediate(work);
    };
    work();
    kept.workers = [new Worker(`
      let kept = [];
      for (;;) { kept.push({ list: new Array(100).fill(Math.random()) }); if (kept.length > 20000) kept = []; }`, { eval: true })];
  });
  for (let round = 0; round < 3; round++) {
    const { capture, error } = await captureIn(subject, { directory, what: 'core', ...asked });
    assert.equal(error, undefined, JSON.stringify(error));
    assert.equal(capture.threads.captured, capture.threads.total);
    assert.deepEqual(capture.notes, []);
  }
  await subject.run(async ({ kept }) => {
    kept.turning = false;
    await Promise.all(kept.workers.map((worker) => worker.terminate()));
  });
  await mustCapture(subject, directory, direct, asked);
});

test('50 captures mixed with spawn and exec: exit codes right, no zombies, no descriptors left', async (t) => {
  const directory = temporaryFolder(t, inMemory);
  const subject = await startSubject(t, 20);
  await mustCapture(subject, directory, direct, asked);
  const before = stateOf(subject, directory);
  const open = descriptors(subject.pid).length;
  const result = await subject.run(async ({ stillcore, require }, directory) => {
    const { spawn, exec, spawnSync } = require('node:child_process');
    const { rmSync } = require('node:fs');
    const { dirname } = require('node:path');
    const wrong = [];
    let captures = 0;
    const capture = async () => {
      for (let i = 0; i < 25; i++) {
        const { path, threads } = await stillcore.capture({ directory, what: 'core', method: 'direct' });
        if (threads.captured < threads.total) wrong.push(threads);
        captures += 1;
        rmSync(dirname(path), { recursive: true });
      }
    };
    const children = async () => {
      for (let i = 0; captures < 50; i = (i + 1) % 200) {
        const [a, b] = await Promise.all([
          new Promise((resolve) => spawn('/bin/sh', ['-c', `exit ${i}`], { stdio: 'ignore' }).on('exit', (code, signal) => resolve(code ?? signal))),
          new Promise((resolve) => exec(`exit ${i % 3}`, (error) => resolve(error ? error.code : 0))),
        ]);
        if (a !== i || b !== i % 3) wrong.push([i, a, b]);
        if (spawnSync('/bin/sh', ['-c', 'exit 9']).status !== 9) wrong.push('spawnSync');
      }
    };
    await Promise.all([capture(), capture(), children()]);
    return { wrong, captures };
  }, directory);
  assert.deepEqual(result, { wrong: [], captures: 50 });
  await asBefore(subject, before, directory);
  assert.ok(descriptors(subject.pid).length <= open);
});
