// ERR_CORE_TIMEOUT: in all, and without progress; with a disk that does not answer at all.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { readdirSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import test from 'node:test';
import { holdPool, inside, noLoops, withMounts } from './support/conditions.mjs';
import { temporaryFolder, waitFor } from './support/files.mjs';
import { output } from '../scripts/workspace.mjs';
import {
  answerOf, answers, asBefore, assertError, begin, children, grow, mustSucceed, seen, startSubject, stateOf, untilPacking,
} from './support/subject.mjs';

async function onlyChild(subject) {
  return waitFor(() => {
    const found = children(subject.pid);
    return found.length === 1 && found[0].pid;
  });
}

test('timeout: in line, while the kernel writes, and while the archive is packed', async (t) => {
  const directory = temporaryFolder(t);
  const subject = await startSubject(t, 20);
  await mustSucceed(subject, directory);
  const before = stateOf(subject, directory);
  const expected = (ms) => ({ code: 'ERR_CORE_TIMEOUT', message: [`not finished after ${ms} ms`, 'option `timeout`'] });

  const pool = await holdPool(t, subject);
  const waiting = await subject.capture('createCore', { directory, timeout: 150 }, 'callback');
  assertError(waiting, expected(150));
  assert.ok(waiting.ms >= 140 && waiting.ms < 2000, `${waiting.ms} ms`);
  await pool.release();
  await asBefore(subject, before, directory);

  await grow(subject, 300);
  assertError(await subject.capture('createCore', { directory, timeout: 120 }), expected(120));
  await asBefore(subject, before, directory);

  // How long the kernel takes here and now nobody knows: longer and longer until it is the packer that is interrupted.
  for (let timeout = 1200, packing = false; !packing; timeout = Math.round(timeout * 1.5)) {
    await begin(subject, 'packing', 'collectCore', { directory, timeout });
    packing = await untilPacking(subject, directory, timeout).catch(() => false);
    assertError(await answerOf(subject, 'packing'), expected(timeout));
    await asBefore(subject, before, directory);
  }
  await grow(subject, 0);
  await mustSucceed(subject, directory);
});

test('stallTimeout: a copy that is stopped; not the time in line', async (t) => {
  const directory = temporaryFolder(t);
  const subject = await startSubject(t, 24);
  const before = stateOf(subject, directory);
  const pool = await holdPool(t, subject);
  await begin(subject, 'stopped', 'createCore', { directory, stallTimeout: 200 });
  await begin(subject, 'behind', 'createCore', { directory, stallTimeout: 300 });
  const copies = await waitFor(() => {
    const found = children(subject.pid);
    return found.length === 2 && found.map(({ pid }) => pid);
  });
  process.kill(Math.min(...copies), 'SIGSTOP');
  await new Promise((resolve) => setTimeout(resolve, 400));
  await pool.release();
  assertError(await answerOf(subject, 'stopped'), {
    code: 'ERR_CORE_TIMEOUT', message: ['made no progress after 200 ms', 'option `stallTimeout`'],
  });
  const { error, path } = await answerOf(subject, 'behind');
  assert.equal(error, undefined);
  rmSync(dirname(path), { recursive: true });
  await asBefore(subject, before, directory);
});

test('stallTimeout: a disk that does not answer, and answers again', { skip: noLoops }, async (t) => {
  const folder = temporaryFolder(t);
  const image = join(temporaryFolder(t), 'image');
  writeFileSync(image, '');
  truncateSync(image, 400 << 20);
  output('mkfs.ext4', ['-q', image]);
  const subject = await startSubject(t, 22, { wrap: withMounts(['-o', 'loop', image, folder]) });
  const before = stateOf(subject, folder);
  const pool = await holdPool(t, subject);
  await begin(subject, 'core', 'createCore', { directory: folder, stallTimeout: 300 });
  await onlyChild(subject);

  // A process of its own thaws it: also when this one is killed.
  const guard = spawn('nsenter', ['--target', String(subject.pid), '--mount', '--', 'sh', '-c', 'cat; fsfreeze --unfreeze "$0"', folder], {
    stdio: ['pipe', 'ignore', 'inherit'], detached: true,
  });
  const thawed = new Promise((resolve) => guard.on('exit', resolve));
  try {
    inside(subject, 'fsfreeze', '--freeze', folder);
    await pool.release();
    const answer = await answerOf(subject, 'core');
    assertError(answer, { code: 'ERR_CORE_TIMEOUT', message: 'made no progress after 300 ms' });
    assert.ok(answer.ms < 6000, `told after ${answer.ms} ms`);
    await answers(subject);
  } finally {
    guard.stdin.end();
    await thawed;
  }
  await asBefore(subject, { ...before, files: before.files }, folder);
  assert.deepEqual(readdirSync(seen(subject, folder)), ['lost+found']);
  await mustSucceed(subject, folder);
});
