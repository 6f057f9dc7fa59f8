// System calls that a container's seccomp profile refuses, or kills for.
import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import test from 'node:test';
import { holdPool, noFilters, refusing } from './support/conditions.mjs';
import { temporaryFolder, waitFor } from './support/files.mjs';
import { nodes } from './support/nodes.mjs';
import {
  asBefore, children, descriptors, mustFail, mustSucceed, seen, startSubject, stateOf,
} from './support/subject.mjs';

const skip = noFilters();
const DOFORK = 'madvise:2=11';
const CLONE_PIDFD = '0x1000';
const missing = /marks are still on|are not in the copy/; // found out in one of two ways

// A core without the JavaScript heap looks sound, so it is the worst that can be left.
for (const node of await nodes()) {
  test(`ERR_CORE_INCOMPLETE: madvise(MADV_DOFORK) refused, on ${node.label}`, { skip: skip || node.skip }, async (t) => {
    const directory = temporaryFolder(t);
    const expected = { code: 'ERR_CORE_INCOMPLETE', message: ['JavaScript heap', 'MADV_DOFORK', 'seccomp'] };
    for (const [action, what] of [['EPERM', 'EPERM'], ['EINVAL', missing], ['DONE', missing]]) {
      const subject = await startSubject(t, node, { wrap: refusing(`${DOFORK}:${action}`) });
      await mustFail(subject, { directory }, { ...expected, message: [...expected.message, what] }, { forms: [action === 'DONE' ? 'callback' : 'promise'] });
      subject.child.kill('SIGKILL');
    }
  });
}

test('ERR_CORE_INCOMPLETE: the same where the marks are listed by smaps, for a process that is mostly Buffers', { skip }, async (t) => {
  const directory = temporaryFolder(t);
  const subject = await startSubject(t, 22, { wrap: refusing(`${DOFORK}:DONE`) });
  await subject.run(({ kept }) => void (kept.buffers = Buffer.alloc(400 << 20, 'x')));
  await mustFail(subject, { directory }, { code: 'ERR_CORE_INCOMPLETE', message: /ranges, the first at 0x[0-9a-f]+, are not in the copy/ }, { forms: ['promise'] });
});

// The calls that only a copy makes, from its birth to its end.
const killing = {
  'prctl:0=1': 'died before it was ready', // PR_SET_PDEATHSIG
  getppid: 'died before it was ready',
  fchdir: 'died before it was ready',
  sendmsg: 'died before it was ready',
  'kill:1=11': 'seccomp filter (SIGSYS)',
};

test('ERR_CORE_KILLED: a filter that kills takes the copy, never the service', { skip }, async (t) => {
  const directory = temporaryFolder(t);
  for (const [rule, what] of Object.entries(killing)) {
    for (const action of ['KILL', ...(rule === 'sendmsg' ? ['KILL_THREAD'] : [])]) {
      await t.test(`${rule}:${action}`, async (t) => {
        // The kernel dumps what is killed so, if it may.
        const cwd = temporaryFolder(t);
        const wrap = ['prlimit', '--core=unlimited', ...refusing(`${rule}:${action}`)];
        const subject = await startSubject(t, 22, { wrap, cwd });
        await mustFail(subject, { directory }, { code: 'ERR_CORE_KILLED', message: [what, 'the service itself was not touched'] });
        assert.deepEqual(readdirSync(cwd), [], 'no core in the folder that the service works in');
      });
    }
  }
});

const unneeded = [
  `clone:0&${CLONE_PIDFD}`, 'close_range', 'ioprio_set', 'pidfd_send_signal', 'prctl:0=1', 'process_vm_readv', 'renameat2',
  'setpriority', 'waitid',
];

for (const errno of ['ENOSYS', 'EPERM', 'EINVAL']) {
  test(`what a capture can do without answers ${errno}`, { skip }, async (t) => {
    const directory = temporaryFolder(t);
    const subject = await startSubject(t, 24, { wrap: refusing(...unneeded.map((rule) => `${rule}:${errno}`)) });
    await mustSucceed(subject, directory);

    // A copy that is killed early, and holds nothing of the service's meanwhile.
    const before = stateOf(subject, directory);
    const pool = await holdPool(t, subject);
    await subject.run(({ createCore, kept, describe }, directory) => {
      kept.abort = new AbortController();
      kept.answer = createCore({ directory, signal: kept.abort.signal }).then(String, describe);
    }, directory);
    const copy = await waitFor(() => {
      const found = children(subject.pid);
      return found.length === 1 && descriptors(found[0].pid).length === 1 && found[0].pid;
    }, { what: 'one copy with one descriptor' });
    assert.match(descriptors(copy)[0], /^socket:/);
    const error = await subject.run(({ kept }) => {
      kept.abort.abort();
      return kept.answer;
    });
    assert.equal(error.code, 'ABORT_ERR');
    await pool.release();
    await asBefore(subject, before, directory);

    if (errno === 'EPERM') {
      const { path } = await subject.capture('collectCore', { directory });
      assert.match(path, /\.tar\.gz$/);
      await rm(seen(subject, path));
      await asBefore(subject, before, directory);
    }
  });
}

// What a capture cannot do without.
const needed = {
  'socketpair:EPERM': { code: 'EPERM', syscall: 'socketpair' },
  'socketpair:ENOSYS': { code: 'ENOSYS', syscall: 'socketpair' },
  'sendmsg:EPERM': { code: 'ERR_CORE_KILLED' },
  'fchdir:EPERM': { code: 'EPERM', syscall: 'fchdir' },
  'clone:0=0x1000:EPERM clone:0=0:EPERM': { code: 'EPERM', syscall: 'fork' },
};

test('what a capture cannot do without is a clear error', { skip }, async (t) => {
  const directory = temporaryFolder(t);
  for (const [rules, expected] of Object.entries(needed)) {
    await t.test(rules, async (t) => {
      const subject = await startSubject(t, 20, { wrap: refusing(...rules.split(' ')) });
      await mustFail(subject, { directory }, { path: undefined, message: /seccomp/, ...expected }, { forms: ['promise'] });
    });
  }
});

test('limits that may not be touched (SystemCallFilter=~@resources) do where they are high enough', { skip }, async (t) => {
  const directory = temporaryFolder(t);
  const wrap = (limit) => ['prlimit', `--core=${limit}`, ...refusing('prlimit64:EPERM', 'setpriority:EPERM', 'ioprio_set:EPERM')];
  await mustSucceed(await startSubject(t, 22, { wrap: wrap('unlimited') }), directory);
  await mustFail(await startSubject(t, 22, { wrap: wrap('0:unlimited') }), { directory }, {
    code: 'EPERM', syscall: 'prlimit', message: /seccomp/,
  }, { forms: ['promise'] });
});
