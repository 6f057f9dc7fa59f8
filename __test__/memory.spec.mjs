// ERR_CORE_MEMORY: in a control group with a memory limit, where the kernel might kill the service for its copy.
import assert from 'node:assert/strict';
import test from 'node:test';
import { controlGroup, holdPool } from './support/conditions.mjs';
import { temporaryFolder, waitFor } from './support/files.mjs';
import {
  answerOf, asBefore, assertError, begin, children, mustFail, mustSucceed, startSubject, stateOf,
} from './support/subject.mjs';

const MB = 1 << 20;

/** A group for memory whose limit can be set alike in both versions. */
function memoryGroup(t) {
  const group = controlGroup(t, 'memory');
  if (group.skip) return group;
  const one = group.version === 1;
  const name = (first, second) => (one ? first : second);
  return {
    ...group,
    limit: (bytes) => group.set(name('memory.limit_in_bytes', 'memory.max'), bytes),
    unlimit: () => group.set(name('memory.limit_in_bytes', 'memory.max'), one ? -1 : 'max'),
    used: () => Number(group.get(name('memory.usage_in_bytes', 'memory.current'))),
    kills: () => Number(/^oom_kill (\d+)/m.exec(group.get(name('memory.oom_control', 'memory.events')))[1]),
  };
}

/** Memory that the service has written, and writes again when told. */
function own(subject, megabytes) {
  return subject.run(({ kept }, bytes) => void (kept.memory = Buffer.alloc(bytes, 1)), megabytes * MB);
}

function writeAgain(subject) {
  // In steps, as a service does it.
  return subject.run(async ({ kept }) => {
    for (let at = 0; at < kept.memory.length; at += 8 << 20) {
      kept.memory.fill((at >> 23) + 2, at, Math.min(at + (8 << 20), kept.memory.length));
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  });
}

async function forked(subject, count) {
  await waitFor(() => children(subject.pid).length === count, { what: `${count} copies and no probe` });
}

test('refused before the fork where less than the reserve is left', async (t) => {
  const group = memoryGroup(t);
  if (group.skip) return t.skip(group.skip);
  const directory = temporaryFolder(t);
  const subject = await startSubject(t, 22, { wrap: group.wrap });
  const limit = Math.ceil(group.used() / MB) + 200;
  group.limit(limit * MB);
  await mustFail(subject, { directory }, {
    code: 'ERR_CORE_MEMORY', message: [new RegExp(`has \\d+ MB left of its ${limit} MB`), 'less than 256 MB in reserve', 'STILLCORE_MEMORY_RESERVE'],
  });
  group.limit((limit + 200) * MB);
  await mustSucceed(subject, directory);
  // Of a large group it is 5 %.
  group.limit((limit + 10_000) * MB);
  await mustSucceed(subject, directory);
  await subject.run(() => void (process.env.STILLCORE_MEMORY_RESERVE = String(20_000 * 2 ** 20)));
  await mustFail(subject, { directory }, { code: 'ERR_CORE_MEMORY', message: 'less than 20000 MB in reserve' }, { forms: ['promise'] });
});

test('another reserve', async (t) => {
  const group = memoryGroup(t);
  if (group.skip) return t.skip(group.skip);
  const subject = await startSubject(t, 26, { wrap: group.wrap, env: { STILLCORE_MEMORY_RESERVE: String(16 * MB) } });
  group.limit(group.used() + 150 * MB);
  await mustSucceed(subject, temporaryFolder(t));
});

test('the copies are given up when the service writes much while they live', async (t) => {
  const group = memoryGroup(t);
  if (group.skip) return t.skip(group.skip);
  const directory = temporaryFolder(t);
  const subject = await startSubject(t, 20, { wrap: group.wrap });
  await own(subject, 300);
  group.limit(800 * MB);
  const before = stateOf(subject, directory);
  const pool = await holdPool(t, subject);
  await begin(subject, 'one', 'createCore', { directory });
  await begin(subject, 'two', 'createCore', { directory }, 'callback');
  await forked(subject, 2);
  await writeAgain(subject);
  // Without waiting for their turn.
  const expected = { code: 'ERR_CORE_MEMORY', message: ['of its 800 MB', 'less than 256 MB in reserve'] };
  for (const name of ['one', 'two']) assertError(await answerOf(subject, name), expected);
  await waitFor(() => children(subject.pid).length === 0);
  await pool.release();
  assert.equal(group.kills(), 0, 'the kernel had no reason to kill');
  await asBefore(subject, before, directory);
  await subject.run(({ kept }) => void delete kept.memory);
  group.unlimit();
  await mustSucceed(subject, directory);
});

test('where the kernel is quicker it takes the copy, and the service lives', async (t) => {
  const group = memoryGroup(t);
  if (group.skip) return t.skip(group.skip);
  const directory = temporaryFolder(t);
  const subject = await startSubject(t, 24, { wrap: group.wrap, env: { STILLCORE_MEMORY_RESERVE: '0' } });
  await own(subject, 300);
  group.limit(group.used() + 100 * MB);
  const before = stateOf(subject, directory);
  const pool = await holdPool(t, subject);
  await begin(subject, 'core', 'createCore', { directory });
  await forked(subject, 1);
  await writeAgain(subject);
  assert.equal(group.kills(), 1);
  await pool.release();
  assertError(await answerOf(subject, 'core'), { code: 'ERR_CORE_MEMORY', message: ['killed the copy', 'the service lives'] });
  await asBefore(subject, before, directory);
  group.unlimit();
  await mustSucceed(subject, directory);
});
