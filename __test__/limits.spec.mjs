// The limits of the process and of its container: on cores, on file sizes, on processes, on descriptors, on memory
// that may be promised.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync, readdirSync } from 'node:fs';
import { totalmem } from 'node:os';
import test from 'node:test';
import { controlGroup, noOtherUsers, tasks } from './support/conditions.mjs';
import { temporaryFolder, waitFor } from './support/files.mjs';
import {
  asBefore, assertError, mappings, mustFail, mustSucceed, startSubject, stateOf,
} from './support/subject.mjs';

// What is tested here is the kernel's way; by default captures would go round it.
process.env.STILLCORE_METHOD = 'kernel';

const MB = 1 << 20;

/** Sets a limit of a live process: `value` as prlimit takes it. As the user it belongs to: root need not have the capability. */
function setLimit(subject, name, value, uid) {
  execFileSync('prlimit', ['--pid', String(subject.pid), `--${name}=${value}`], { uid, gid: uid });
}

function limitsOf(subject) {
  return readFileSync(`/proc/${subject.pid}/limits`, 'utf8');
}

test('ERR_CORE_LIMIT: no core may be written, or none of that size', async (t) => {
  const directory = temporaryFolder(t);
  const none = await startSubject(t, 22, { prlimit: { core: '0:0' } });
  const advice = ['RLIMIT_CORE', 'LimitCORE=infinity', 'docker --ulimit core=-1'];
  await mustFail(none, { directory }, { code: 'ERR_CORE_LIMIT', message: ['is 0: no core may be written', ...advice] });

  const small = await startSubject(t, 22, { prlimit: { core: `${10 * MB}:${10 * MB}` } });
  await mustFail(small, { directory }, {
    code: 'ERR_CORE_LIMIT', message: [/is 10485760 bytes, and a core of this process has at least \d{8,9}\. /, ...advice],
  });

  // Larger than the process, and smaller than its core: that shows only in the end.
  const late = await startSubject(t, 22);
  const resident = await late.run(() => process.memoryUsage.rss());
  setLimit(late, 'core', `${resident + 10 * MB}:${resident + 10 * MB}`);
  const { error } = await mustFail(late, { directory }, { code: 'ERR_CORE_LIMIT', message: [`is ${resident + 10 * MB} bytes`, ...advice] });
  assert.doesNotMatch(error.message, /\d{15}/);
});

test('soft limits do not matter, and stay as they are', async (t) => {
  const subject = await startSubject(t, 24, { prlimit: { core: '0:unlimited', fsize: `${MB}:unlimited` } });
  const before = limitsOf(subject);
  await mustSucceed(subject, temporaryFolder(t));
  assert.equal(limitsOf(subject), before);
});

test('EFBIG before the fork, while the kernel writes, and while the archive is packed', async (t) => {
  const directory = temporaryFolder(t);
  const small = await startSubject(t, 20, { prlimit: { fsize: `${10 * MB}:${10 * MB}` } });
  const expected = { code: 'EFBIG', syscall: 'write', path: directory };
  const advice = ['RLIMIT_FSIZE', 'LimitFSIZE='];
  await mustFail(small, { directory }, { ...expected, message: [/is 10485760 bytes, and a core of this process has at least \d{8,9}\. /, ...advice] });

  const late = await startSubject(t, 20);
  const resident = await late.run(() => process.memoryUsage.rss());
  setLimit(late, 'fsize', `${resident + 10 * MB}:${resident + 10 * MB}`);
  const { error } = await mustFail(late, { directory }, { code: 'EFBIG', syscall: 'write', message: [`is ${resident + 10 * MB} bytes`, ...advice] });
  assert.doesNotMatch(error.message, /\d{15}/);

  // The kernel writes the core under the hard limit, the service the archive under the soft one.
  const packing = await startSubject(t, 20, { prlimit: { fsize: `${10 * MB}:unlimited` } });
  const answer = await mustFail(packing, { directory }, { code: 'EFBIG', syscall: 'write', message: 'ulimit -f' }, { what: 'collectCore', forms: ['promise'] });
  assert.match(answer.error.path, /\/archive$/);
  await mustSucceed(packing, directory);
});

/**
 * Captures with room for 0, 1, 2, ... more tasks, until one succeeds: each of the others is refused as EAGAIN, and
 * leaves no trace. Gives the room that was enough.
 */
async function upToTheLimit(t, subject, what, { limit, unlimit }) {
  const directory = temporaryFolder(t, { mode: 0o777 });
  // By then every thread that it will ever have is there.
  await mustSucceed(subject, directory);
  const own = await settled(() => tasks(subject.pid));
  for (let room = 0; room < 12; room += 1) {
    const before = stateOf(subject, directory);
    limit(own + room);
    const answer = await subject.capture(what, { directory });
    unlimit();
    if (!answer.error) return room;
    assertError(answer, { code: 'EAGAIN', message: /limit on processes|unavailable/ });
    assert.ok(['fork', 'clone'].includes(answer.error.syscall), answer.error.syscall);
    await asBefore(subject, before, directory);
    assert.equal(await settled(() => tasks(subject.pid)), own, 'no thread is left');
  }
  assert.fail('no capture succeeded');
}

/** A number that has not changed for a while. */
async function settled(read) {
  let last;
  let since = Date.now();
  return waitFor(() => {
    const now = read();
    if (now !== last) [last, since] = [now, Date.now()];
    return Date.now() - since > 200 && now;
  });
}

for (const what of ['createCore', 'collectCore']) {
  test(`EAGAIN: ${what} at each step of the limit of a container`, async (t) => {
    const group = controlGroup(t, 'pids');
    if (group.skip) return t.skip(group.skip);
    const subject = await startSubject(t, what === 'createCore' ? 24 : 20, { wrap: group.wrap });
    const room = await upToTheLimit(t, subject, what, {
      limit: (count) => group.set('pids.max', count),
      unlimit: () => group.set('pids.max', 'max'),
    });
    assert.ok(room >= 2, `the forks themselves were refused at first, and ${room} more were enough`);
  });
}

test('EAGAIN: at each step of RLIMIT_NPROC', { skip: noOtherUsers }, async (t) => {
  const uid = 54_000 + (process.pid % 1000);
  const subject = await startSubject(t, 22, { uid });
  const [, hard] = /^Max processes +\S+ +(\S+)/m.exec(limitsOf(subject));
  const room = await upToTheLimit(t, subject, 'createCore', {
    limit: (count) => setLimit(subject, 'nproc', `${count}:`, uid),
    unlimit: () => setLimit(subject, 'nproc', `${hard}:`, uid),
  });
  assert.ok(room >= 2, `${room}`);
});

test('EMFILE: at each step of the limit on descriptors', async (t) => {
  const directory = temporaryFolder(t);
  const subject = await startSubject(t, 20);
  await mustSucceed(subject, directory);
  const [, soft] = /^Max open files +(\d+)/m.exec(limitsOf(subject));
  const open = readdirSync(`/proc/${subject.pid}/fd`).map(Number);
  let limit = 3;
  while (open.includes(limit)) limit += 1;
  let refused = 0;
  for (let room = 0; room < 60; room += 1, limit += 1) {
    const before = stateOf(subject, directory);
    setLimit(subject, 'nofile', `${limit}:`);
    const answer = await subject.capture(room % 2 ? 'createCore' : 'collectCore', { directory });
    setLimit(subject, 'nofile', `${soft}:`);
    if (!answer.error) break;
    refused += 1;
    assertError(answer, { code: 'EMFILE', message: 'ulimit -n' });
    await asBefore(subject, before, directory);
  }
  assert.ok(refused > 3, `${refused} were refused`);
});

test('ENOMEM: more memory than the kernel promises for a copy', async (t) => {
  if (readFileSync('/proc/sys/vm/overcommit_memory', 'utf8').trim() !== '0') return t.skip('vm.overcommit_memory is not 0 here');
  const directory = temporaryFolder(t);
  const subject = await startSubject(t, 20, { execArgv: ['--expose-gc'] });
  // The kernel looks at each mapping by itself. Mappings of moderate size that touch become one, and that one a fork
  // cannot have. Nothing is written to them.
  await subject.run(({ kept }, bytes) => {
    kept.large = [];
    for (let sum = 0; sum < bytes; sum += 2 ** 30) kept.large.push(Buffer.allocUnsafeSlow(2 ** 30));
  }, 2 * totalmem());
  const largest = Math.max(...mappings(subject.pid).map(({ start, end }) => end - start));
  if (largest < totalmem()) return t.skip('this kernel did not join the mappings');
  const before = stateOf(subject, directory);
  const answer = await subject.capture('createCore', { directory });
  // The service's own children were refused now as well.
  await subject.run(({ kept }) => {
    delete kept.large;
    gc();
  });
  assertError(answer, { code: 'ENOMEM', syscall: 'fork', path: undefined, message: /vm\.overcommit_memory/ });
  await asBefore(subject, { ...before, mappings: before.mappings.filter(({ marked }) => marked) }, directory);
  await mustSucceed(subject, directory);
});

test('ENOMEM: a limit on the address space, or on data, that leaves too little for the threads of a capture', async (t) => {
  const directory = temporaryFolder(t);
  const subject = await startSubject(t, 22);
  await mustSucceed(subject, directory);
  const page = Number(execFileSync('getconf', ['PAGESIZE'], { encoding: 'utf8' }));
  const used = (field) => Number(readFileSync(`/proc/${subject.pid}/statm`, 'latin1').split(' ')[field]) * page;
  for (const [name, field, words] of [['as', 0, 'RLIMIT_AS, ulimit -v'], ['data', 5, 'RLIMIT_DATA, ulimit -d']]) {
    for (const what of ['createCore', 'collectCore']) {
      // So little that the process could not even start its threads.
      setLimit(subject, name, `${used(field) + 8 * MB}:`);
      const answer = await subject.capture(what, { directory });
      setLimit(subject, name, 'unlimited:');
      assertError(answer, { code: 'ENOMEM', syscall: 'mmap', message: [words, /leaves \d MB of \d+ MB, and a capture may need \d+ MB/] });
    }
  }
  await mustSucceed(subject, directory);
});
