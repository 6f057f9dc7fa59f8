// kernel.core_pattern: what would send the core elsewhere is refused before any signal is raised.
import assert from 'node:assert/strict';
import { chmodSync, existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { dirname, join } from 'node:path';
import test from 'node:test';
import { holdPool, noMounts, withMounts } from './support/conditions.mjs';
import { noPatternChange, withCorePattern } from './support/core-pattern.mjs';
import { temporaryFolder, waitFor } from './support/files.mjs';
import {
  asBefore, assertError, checkCore, children, mustFail, mustSucceed, startSubject, stateOf,
} from './support/subject.mjs';

// What is tested here is the kernel's way; by default captures would go round it.
process.env.STILLCORE_METHOD = 'kernel';

const PATTERN = '/proc/sys/kernel/core_pattern';

/** A program for a pipe pattern that leaves a trace when the kernel calls it. */
function handler(t) {
  const folder = temporaryFolder(t);
  const [program, trace] = [join(folder, 'handler'), join(folder, 'called')];
  writeFileSync(program, `#!/bin/sh\ntouch ${trace}\ncat > /dev/null\n`);
  chmodSync(program, 0o755);
  return { pattern: `|${program} %p %u`, wasCalled: () => existsSync(trace) };
}

test('every kind of pattern that leaves no file in the folder, as the process sees it', { skip: noMounts }, async (t) => {
  const folder = temporaryFolder(t);
  const [pattern, usesPid] = ['pattern', 'uses-pid'].map((name) => join(folder, name));
  writeFileSync(pattern, 'core\n');
  writeFileSync(usesPid, '0\n');
  // Only the subject sees these files there; the kernel goes on with its own.
  const subject = await startSubject(t, 22, {
    wrap: withMounts(['--bind', pattern, PATTERN], ['--bind', usesPid, '/proc/sys/kernel/core_uses_pid']),
  });
  const directory = temporaryFolder(t);
  const bad = {
    '|/usr/lib/systemd/systemd-coredump %P %u %g %s %t %c %h': 'gives every core to a program',
    '|/usr/share/apport/apport -p%p': 'gives every core to a program',
    '/var/crash/core.%e.%p': 'puts every core at a path of its own',
    '@/run/coredump.socket': 'gives every core to a socket',
    '@@/run/coredump.socket': 'gives every core to a socket',
    'cores/core.%p': 'puts every core in a folder of its own',
    './cores/%p': 'puts every core in a folder of its own',
    '../core': 'puts every core in a folder of its own',
    '': 'is empty, so that no core is written',
  };
  for (const [text, what] of Object.entries(bad)) {
    writeFileSync(pattern, `${text}\n`);
    await mustFail(subject, { directory }, {
      code: 'ERR_CORE_PATTERN', message: [`kernel.core_pattern is '${text}'`, what, 'sysctl -w kernel.core_pattern=core'],
    });
  }
  for (const text of ['core.%p', '%e.%p.dump', './core', 'core']) {
    writeFileSync(pattern, `${text}\n`);
    const { error } = await subject.capture('createCore', { directory: join(directory, 'missing') });
    assert.equal(error.code, 'ENOENT', `'${text}' is no obstacle`);
  }
  writeFileSync(pattern, '\n');
  writeFileSync(usesPid, '1\n');
  await mustSucceed(subject, directory);
});

test('a program that the host pipes cores to is not called', { skip: noPatternChange }, async (t) => {
  const subject = await startSubject(t, 24);
  const directory = temporaryFolder(t);
  const before = stateOf(subject, directory);
  const { pattern, wasCalled } = handler(t);
  const answer = await withCorePattern({ pattern }, () => subject.capture('createCore', { directory }));
  assertError(answer, { code: 'ERR_CORE_PATTERN', message: [`'${pattern}'`, 'no handler was called'] });
  await asBefore(subject, before, directory);
  assert.equal(wasCalled(), false);
  await mustSucceed(subject, directory);
});

/** Begins a capture that gets no further than the line, and goes on when `pool` is released. */
async function inLine(t, subject, directory) {
  const pool = await holdPool(t, subject);
  const answer = subject.capture('createCore', { directory });
  await waitFor(() => children(subject.pid).length === 1);
  return { go: () => pool.release(), answer };
}

test('nor is it when the pattern changes while a capture waits in line', { skip: noPatternChange }, async (t) => {
  const subject = await startSubject(t, 20);
  const directory = temporaryFolder(t);
  const before = stateOf(subject, directory);
  const { pattern, wasCalled } = handler(t);
  const { go, answer } = await inLine(t, subject, directory);
  await withCorePattern({ pattern }, () => go().then(() => answer));
  assertError(await answer, { code: 'ERR_CORE_PATTERN', message: `'${pattern}'` });
  await asBefore(subject, before, directory);
  assert.equal(wasCalled(), false);
});

test('a socket that the host sends cores to gets none', { skip: noPatternChange }, async (t) => {
  const subject = await startSubject(t, 26);
  const directory = temporaryFolder(t);
  const before = stateOf(subject, directory);
  const path = join(temporaryFolder(t), 'socket');
  let connections = 0;
  const server = createServer((socket) => {
    connections += 1;
    socket.destroy();
  }).listen(path);
  t.after(() => server.close());
  let answer;
  try {
    answer = await withCorePattern({ pattern: `@${path}` }, () => subject.capture('createCore', { directory }));
  } catch (error) {
    if (error.syscall !== 'write') throw error;
    return t.skip(`this kernel takes no sockets as pattern (${error.code})`);
  }
  assertError(answer, { code: 'ERR_CORE_PATTERN', message: `'@${path}'` });
  await asBefore(subject, before, directory);
  assert.equal(connections, 0);
});

test('whatever the host names cores, the result is called core', { skip: noPatternChange }, async (t) => {
  const subject = await startSubject(t, 20);
  const directory = temporaryFolder(t);
  const before = stateOf(subject, directory);
  // No other capture is disturbed by these.
  for (const one of [{ pattern: 'core.%p' }, { pattern: '%e.%p.dump' }, { pattern: 'core', usesPid: 1 }]) {
    const { go, answer } = await inLine(t, subject, directory);
    await withCorePattern(one, () => go().then(() => answer));
    const { path, error } = await answer;
    assert.equal(error, undefined);
    await checkCore(subject, path, directory);
    rmSync(dirname(path), { recursive: true });
    await asBefore(subject, before, directory);
  }
});

test('a kernel that leaves nothing, though its pattern promised a file', { skip: noPatternChange || noMounts }, async (t) => {
  const shown = join(temporaryFolder(t), 'pattern');
  writeFileSync(shown, readFileSync(PATTERN));
  const subject = await startSubject(t, 20, { wrap: withMounts(['--bind', shown, PATTERN]) });
  const directory = temporaryFolder(t);
  const before = stateOf(subject, directory);
  const { go, answer } = await inLine(t, subject, directory);
  await withCorePattern({ pattern: 'no-such-folder/core' }, () => go().then(() => answer));
  assertError(await answer, { code: 'ERR_CORE_PATTERN', message: ['left no core in the working folder', `cat ${PATTERN}`] });
  await asBefore(subject, before, directory);
  await mustSucceed(subject, directory);
});
