// The service's own file and DNS work goes on during captures: they hold at most one thread of libuv's pool, and none
// where there is only one.
import assert from 'node:assert/strict';
import { rmSync } from 'node:fs';
import { dirname } from 'node:path';
import test from 'node:test';
import { holdPool } from './support/conditions.mjs';
import { temporaryFolder, waitFor } from './support/files.mjs';
import { answerOf, begin, children, grow, isOver, startSubject } from './support/subject.mjs';

/** Begins a capture whose copy is stopped before it writes anything, so that it lasts until `go` is called. */
async function beginStopped(t, subject, directory) {
  await begin(subject, 'stopped', 'createCore', { directory });
  const [{ pid }] = await waitFor(() => {
    const found = children(subject.pid);
    return found.length === 1 && found;
  });
  process.kill(pid, 'SIGSTOP');
  return () => process.kill(pid, 'SIGCONT');
}

async function remove(subject, names) {
  for (const name of names) {
    const { path, error } = await answerOf(subject, name);
    assert.equal(error, undefined);
    rmSync(dirname(path), { recursive: true });
  }
}

test('of four threads three are left, however many captures there are', async (t) => {
  const directory = temporaryFolder(t);
  const subject = await startSubject(t, 22);
  const all = await holdPool(t, subject);
  const go = await beginStopped(t, subject, directory);
  for (const name of ['2', '3', '4', '5']) await begin(subject, name, 'createCore', { directory });
  await all.release();

  const three = await holdPool(t, subject, 3);
  await waitFor(() => three.blocked() === 3, { what: 'three jobs to hold a thread each' });
  assert.equal(await isOver(subject, 'stopped'), false);
  await three.release();
  // While a fourth has to wait: the captures do hold one.
  const four = await holdPool(t, subject, 4);
  await waitFor(() => four.blocked() === 3);
  await new Promise((resolve) => setTimeout(resolve, 100));
  assert.equal(four.blocked(), 3);
  assert.equal(await isOver(subject, 'stopped'), false);

  go();
  await waitFor(() => four.blocked() === 4, { what: 'the captures to give their thread back' });
  await four.release();
  await remove(subject, ['stopped', '2', '3', '4', '5']);
});

for (const size of ['1', '0', 'none']) {
  test(`with UV_THREADPOOL_SIZE=${size} files and names are looked up during a capture`, async (t) => {
    const directory = temporaryFolder(t);
    const subject = await startSubject(t, 24, { env: { UV_THREADPOOL_SIZE: size } });
    await grow(subject, 150);
    await begin(subject, 'core', 'createCore', { directory });
    const alive = await subject.run(async ({ kept, require }) => {
      const { lookup } = require('node:dns/promises');
      const { readFile } = require('node:fs/promises');
      const { pbkdf2 } = require('node:crypto');
      await readFile(process.argv[1]);
      await lookup('localhost');
      await new Promise((resolve) => pbkdf2('a', 'b', 1, 8, 'sha256', resolve));
      return !('core is over' in kept);
    });
    assert.ok(alive, 'all of it was done before the capture was over');
    await remove(subject, ['core']);
  });
}
