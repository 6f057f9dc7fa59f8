// The copy is killed, stopped or signalled from outside; and more captures are asked for than may wait.
import assert from 'node:assert/strict';
import { readFileSync, rmSync } from 'node:fs';
import { dirname } from 'node:path';
import test from 'node:test';
import { holdPool } from './support/conditions.mjs';
import { temporaryFolder, waitFor } from './support/files.mjs';
import {
  answerOf, answers, asBefore, assertError, begin, checkCore, children, grow, isOver, mustSucceed, seen, startSubject,
  stateOf, untilDumping, working,
} from './support/subject.mjs';

/** The pid of the copy that waits in line, ready. */
async function waitingCopy(subject) {
  // The probe is gone, and it has closed what it inherited.
  return waitFor(() => {
    const found = children(subject.pid);
    return found.length === 1 && found[0].pid;
  });
}

test('ERR_CORE_KILLED: the copy is killed while it waits for its turn', async (t) => {
  const directory = temporaryFolder(t);
  const subject = await startSubject(t, 26);
  const before = stateOf(subject, directory);
  const pool = await holdPool(t, subject);
  await begin(subject, 'core', 'createCore', { directory });
  process.kill(await waitingCopy(subject), 'SIGKILL');
  await pool.release();
  assertError(await answerOf(subject, 'core'), {
    code: 'ERR_CORE_KILLED', message: ['killed from outside (SIGKILL)', 'Nothing is left on disk', 'Capture again'],
  });
  await asBefore(subject, before, directory);
  await mustSucceed(subject, directory);
});

test('ERR_CORE_KILLED: the copy is killed while the kernel writes it', async (t) => {
  const directory = temporaryFolder(t);
  const subject = await startSubject(t, 20);
  await grow(subject, 250);
  for (const what of ['createCore', 'collectCore']) {
    const before = stateOf(subject, directory);
    await begin(subject, what, what, { directory }, 'callback');
    await untilDumping(subject, directory);
    // The wait status says SIGSEGV with a core all the same.
    for (const { pid } of children(subject.pid)) process.kill(pid, 'SIGKILL');
    assertError(await answerOf(subject, what), { code: 'ERR_CORE_KILLED', message: 'killed from outside (SIGKILL)' });
    await asBefore(subject, before, directory);
  }
  await grow(subject, 0);
  await mustSucceed(subject, directory);
});

test('a copy gets a tenth of the time of a processor that the service gets, whatever that is', async (t) => {
  const nice = (pid) => Number(readFileSync(`/proc/${pid}/stat`, 'latin1').split(') ').at(-1).split(' ')[16]);
  for (const [wrap, expected] of [[[], nice(process.pid) + 10], [['nice', '-n', '15'], 19]]) {
    const directory = temporaryFolder(t);
    const subject = await startSubject(t, 22, { wrap });
    const pool = await holdPool(t, subject);
    await begin(subject, 'core', 'createCore', { directory });
    const copy = await waitingCopy(subject);
    await waitFor(() => nice(copy) === Math.min(expected, 19), { what: `a nice value of ${expected}` });
    await pool.release();
    assert.equal((await answerOf(subject, 'core')).error, undefined);
  }
});

test('signals that ask the service to end or to do something do not reach the copy', async (t) => {
  const directory = temporaryFolder(t);
  const subject = await startSubject(t, 24);
  await subject.run(({ kept }) => {
    kept.signals = [];
    for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP', 'SIGUSR2', 'SIGWINCH']) process.on(signal, () => kept.signals.push(signal));
  });
  const before = stateOf(subject, directory);
  const pool = await holdPool(t, subject);
  await begin(subject, 'core', 'createCore', { directory });
  const copy = await waitingCopy(subject);
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP', 'SIGQUIT', 'SIGUSR1', 'SIGUSR2', 'SIGALRM', 'SIGWINCH', 'SIGCHLD', 'SIGPIPE']) process.kill(copy, signal);
  await pool.release();
  const answer = await answerOf(subject, 'core');
  assert.equal(answer.error, undefined);
  await checkCore(subject, answer.path, directory);
  rmSync(dirname(answer.path), { recursive: true });
  await asBefore(subject, before, directory);
  assert.deepEqual(await subject.run(({ kept }) => kept.signals), [], 'none came to the service through the copy');
});

test('ERR_CORE_BUSY: one runs, four wait, also together with a worker; then all of them end well', async (t) => {
  const directory = temporaryFolder(t);
  const subject = await startSubject(t, 22);
  const before = stateOf(subject, directory);
  const pool = await holdPool(t, subject);
  for (const name of ['1', '2', '3', '4', '5']) await begin(subject, name, 'createCore', { directory });
  await waitFor(() => children(subject.pid).length === 5);
  assert.equal(working(subject, directory).length, 5);
  const expected = { code: 'ERR_CORE_BUSY', message: ['4 are waiting', 'Wait for one to end'] };
  for (const form of ['promise', 'callback']) assertError(await subject.capture('createCore', { directory }, form), expected);
  const inWorker = await subject.run(({ require }, library, directory) => new Promise((resolve, reject) => {
    const { Worker } = require('node:worker_threads');
    const source = `
      const { parentPort, workerData: { library, directory } } = require('node:worker_threads');
      require(library).createCore({ directory }, (error) => parentPort.postMessage(error?.code ?? 'none'));
    `;
    new Worker(source, { eval: true, workerData: { library, directory } }).on('message', resolve).on('error', reject);
  }), new URL('../index.js', import.meta.url).pathname, directory);
  assert.equal(inWorker, 'ERR_CORE_BUSY');
  assert.equal(working(subject, directory).length, 5, 'the refused ones left nothing');

  await pool.release();
  const paths = [];
  for (const name of ['1', '2', '3', '4', '5']) {
    const answer = await answerOf(subject, name);
    assert.equal(answer.error, undefined, JSON.stringify(answer.error));
    await checkCore(subject, answer.path, directory);
    paths.push(answer.path);
  }
  assert.equal(new Set(paths).size, 5);
  for (const path of paths) rmSync(seen(subject, dirname(path)), { recursive: true });
  await asBefore(subject, before, directory);
  await mustSucceed(subject, directory);
});

test('a stopped copy holds up nobody but those behind it', async (t) => {
  const directory = temporaryFolder(t);
  const subject = await startSubject(t, 20);
  const before = stateOf(subject, directory);
  const pool = await holdPool(t, subject);
  await begin(subject, 'first', 'createCore', { directory });
  const copy = await waitingCopy(subject);
  process.kill(copy, 'SIGSTOP');
  await begin(subject, 'second', 'createCore', { directory });
  await pool.release();
  await answers(subject);
  assert.equal(await isOver(subject, 'second'), false);
  process.kill(copy, 'SIGCONT');
  for (const name of ['first', 'second']) {
    const answer = await answerOf(subject, name);
    assert.equal(answer.error, undefined);
    rmSync(dirname(answer.path), { recursive: true });
  }
  await asBefore(subject, before, directory);
});
