// The directory of the result: missing, forbidden, read-only, full at every stage, cleared by somebody else, or on a
// file system that takes no file of that size.
import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, readdirSync, rmSync, statSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { totalmem } from 'node:os';
import { dirname, join } from 'node:path';
import test from 'node:test';
import {
  controlGroup, holdPool, inside, noLoops, noMounts, noOtherUsers, withMounts,
} from './support/conditions.mjs';
import { temporaryFolder, waitFor } from './support/files.mjs';
import { output } from '../scripts/workspace.mjs';
import {
  asBefore, assertError, children, failsThenWorks, grow, mustFail, mustSucceed, seen, startSubject, stateOf, untilDumping,
} from './support/subject.mjs';

// What is tested here is the kernel's way; by default captures would go round it.
process.env.STILLCORE_METHOD = 'kernel';

const MB = 1 << 20;

test('a directory that cannot be used: ENOENT, ENOTDIR, ELOOP, ENAMETOOLONG, each with that path', async (t) => {
  const subject = await startSubject(t, 22);
  const folder = temporaryFolder(t);
  const inThere = (name) => join(folder, name);
  writeFileSync(inThere('file'), '');
  symlinkSync(inThere('nowhere'), inThere('dangling'));
  symlinkSync(inThere('loop'), inThere('loop'));
  mkdirSync(inThere('real'));
  symlinkSync(inThere('real'), inThere('link'));

  const cases = {
    missing: ['ENOENT', /does not exist: create it/],
    'missing/deeper': ['ENOENT', /does not exist/],
    dangling: ['ENOENT', /does not exist/],
    file: ['ENOTDIR', /is no directory: name one/],
    'file/below': ['ENOTDIR', /is no directory/],
    loop: ['ELOOP', []],
    ['n'.repeat(300)]: ['ENAMETOOLONG', []],
  };
  for (const [name, [code, message]] of Object.entries(cases)) {
    const path = inThere(name);
    await mustFail(subject, { directory: path }, { code, message, syscall: 'mkdir', path });
  }
  assert.deepEqual(readdirSync(folder).sort(), ['dangling', 'file', 'link', 'loop', 'real']);
  await mustSucceed(subject, inThere('real'));
  await mustSucceed(subject, inThere('link'));

  // The same for a default.
  await subject.run((_, path) => void (process.env.STILLCORE_DIRECTORY = path), inThere('missing'));
  await mustFail(subject, undefined, { code: 'ENOENT', syscall: 'mkdir', path: inThere('missing') });
});

test('EACCES: a directory of somebody else', { skip: noOtherUsers }, async (t) => {
  const subject = await startSubject(t, 24, { uid: 65534 });
  const theirs = temporaryFolder(t);
  const own = temporaryFolder(t, { mode: 0o777 });
  await failsThenWorks(t, subject, { directory: theirs }, {
    code: 'EACCES', message: /may not write there: name a directory that it owns/, syscall: 'mkdir', path: theirs,
  }, { good: own });
  // One that may be written, but not entered.
  const closed = join(own, 'closed');
  mkdirSync(closed);
  chmodSync(closed, 0o666);
  await mustFail(subject, { directory: closed }, { code: 'EACCES', syscall: 'mkdir', path: closed });
});

test('EROFS: a read-only file system, whether it is full or not', { skip: noMounts }, async (t) => {
  const [large, full] = [temporaryFolder(t), temporaryFolder(t)];
  const subject = await startSubject(t, 26, {
    wrap: withMounts(['-t', 'tmpfs', '-o', 'ro', 'none', large], ['-t', 'tmpfs', '-o', 'ro,size=1m', 'none', full]),
  });
  const expected = { code: 'EROFS', message: /read-only: name a writable directory/, syscall: 'mkdir' };
  await mustFail(subject, { directory: large }, { ...expected, path: large });
  await failsThenWorks(t, subject, { directory: full }, { ...expected, path: full });
});

test('ENOSPC before the fork, while the kernel writes, and while the archive is packed', { skip: noMounts }, async (t) => {
  const folder = temporaryFolder(t);
  const subject = await startSubject(t, 20, { wrap: withMounts(['-t', 'tmpfs', '-o', 'size=10m', 'none', folder]) });
  const resize = (bytes) => inside(subject, 'mount', '-o', `remount,size=${Math.ceil(bytes / 4096) * 4096}`, folder);
  const directory = folder;
  const advice = /Free some space, or name a directory on a larger file system/;

  // Smaller than the process.
  const { error } = await mustFail(subject, { directory }, {
    code: 'ENOSPC', message: [/\d+ bytes are free, and a core of this process has at least \d+/, advice], syscall: 'write', path: directory,
  });
  assert.match(error.message, /10485760 bytes are free/);

  // Larger than the process, and smaller than its core.
  const resident = await subject.run(() => process.memoryUsage.rss());
  resize(resident + 16 * MB);
  await mustFail(subject, { directory }, { code: 'ENOSPC', message: [/ran full while the core was written/, advice], syscall: 'write' });

  // Large enough for the core, and not for the archive beside it.
  resize(2000 * MB);
  const { path } = await subject.capture('createCore', { directory });
  const size = statSync(seen(subject, path)).blocks * 512;
  rmSync(seen(subject, dirname(path)), { recursive: true });
  resize(size + 24 * MB);
  const packing = await mustFail(subject, { directory }, { code: 'ENOSPC', message: advice, syscall: 'write' }, { what: 'collectCore', forms: ['callback'] });
  assert.match(packing.error.path, /\/archive$/, 'it failed while the archive was written');

  // The core alone fits.
  await mustSucceed(subject, directory);

  // It is what a dead process left that fills it: that is cleared away.
  const left = join(seen(subject, directory), '.core_20260101.000000.1.001.partial');
  mkdirSync(left);
  output('fallocate', ['-l', String(size), join(left, 'core')]);
  const before = stateOf(subject, directory);
  const again = await subject.capture('createCore', { directory });
  assert.equal(again.error, undefined);
  assert.deepEqual(readdirSync(seen(subject, directory)), [dirname(again.path).split('/').at(-1)]);
  rmSync(seen(subject, dirname(again.path)), { recursive: true });
  await asBefore(subject, { ...before, files: [] }, directory);
});

test('ENOSPC where what is left is reserved for another user', { skip: noLoops }, async (t) => {
  const folder = temporaryFolder(t);
  const image = join(temporaryFolder(t), 'image');
  writeFileSync(image, '');
  truncateSync(image, 200 * MB);
  // Half of it for a user who is not there, as a container's root is not the host's.
  output('mkfs.ext4', ['-q', '-m', '50', '-O', '^has_journal', image]);
  const subject = await startSubject(t, 20, { wrap: withMounts(['-o', 'loop,resuid=4321', image, folder]) });
  await failsThenWorks(t, subject, { directory: folder }, { code: 'ENOSPC', syscall: 'write' });
});

test('ERR_CORE_TRUNCATED: a file system that takes no file of that size', {
  skip: noLoops || (totalmem() < 20 * 1024 * MB ? 'a process of 17 GB of address space needs a machine with more memory' : false),
}, async (t) => {
  const folder = temporaryFolder(t);
  const image = join(temporaryFolder(t), 'image');
  writeFileSync(image, '');
  truncateSync(image, 1024 * MB);
  // Without extents, in blocks of 1 KB: 16 GB at most.
  output('mkfs.ext4', ['-q', '-b', '1024', '-O', '^extent,^64bit,^flex_bg,^has_journal', image]);
  const subject = await startSubject(t, 20, { wrap: withMounts(['-o', 'loop', image, folder]) });
  await subject.run(({ kept }) => {
    kept.large = Array.from({ length: 4 }, () => Buffer.allocUnsafeSlow(2 ** 32));
    kept.large.push(Buffer.allocUnsafeSlow(2 ** 30));
  });
  const { error } = await mustFail(subject, { directory: folder }, {
    code: 'ERR_CORE_TRUNCATED', message: [/wrote only \d+ of \d+ bytes/, /removed/, /ulimit -f/],
  }, { forms: ['promise'] });
  const [written, expected] = error.message.match(/\d+/g).map(Number);
  assert.ok(written < expected && expected > 17e9, error.message);
  await subject.run(({ kept }) => void delete kept.large);
});

test('ERR_CORE_TRUNCATED: a container that is paused while the kernel writes', async (t) => {
  const group = controlGroup(t, 'freezer');
  if (group.skip || group.version !== 1) return t.skip(group.skip || 'only the freezer of version 1 cuts cores short');
  const directory = temporaryFolder(t);
  const subject = await startSubject(t, 20, { wrap: group.wrap });
  await grow(subject, 250);
  const before = stateOf(subject, directory);
  const answer = subject.capture('createCore', { directory });
  await untilDumping(subject, directory);
  group.set('freezer.state', 'FROZEN');
  await waitFor(() => group.get('freezer.state') === 'FROZEN');
  group.set('freezer.state', 'THAWED');
  assertError(await answer, { code: 'ERR_CORE_TRUNCATED', message: /wrote only \d+ of \d+ bytes/ });
  await asBefore(subject, before, directory);
  await grow(subject, 0);
  await mustSucceed(subject, directory);
});

test('somebody clears the directory while a capture is in it', async (t) => {
  const directory = temporaryFolder(t);
  const subject = await startSubject(t, 24);
  const before = stateOf(subject, directory);
  const pool = await holdPool(t, subject);
  const answer = subject.capture('createCore', { directory });
  await waitFor(() => children(subject.pid).length === 1 && readdirSync(directory).length === 1);
  for (const name of readdirSync(directory)) rmSync(join(directory, name), { recursive: true });
  await pool.release();
  assertError(await answer, { code: 'ENOENT' });
  await asBefore(subject, before, directory);
  await mustSucceed(subject, directory);
});
