// method 'auto' where the kernel gives no file, or might not: the direct way is taken, and it is told why.
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { chmodSync, existsSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { mustCapture, mustCollect } from './support/captures.mjs';
import { inside, isRoot, meddle, noMounts, withMounts } from './support/conditions.mjs';
import { noPatternChange, withCorePattern } from './support/core-pattern.mjs';
import { temporaryFolder, waitFor } from './support/files.mjs';
import { answers, children, mustFail, startSubject } from './support/subject.mjs';

// The other tests of captures ask for the kernel's way (support/subject.mjs).
process.env.STILLCORE_METHOD = 'auto';

const PATTERN = '/proc/sys/kernel/core_pattern';
const MB = 1 << 20;
const pattern = readFileSync(PATTERN, 'utf8').trim();
const noKernelWay = /^[|@/]/.test(pattern) ? `kernel.core_pattern is '${pattern}' here` : false;
const notRoot = isRoot ? false : 'only root can become another user';
const direct = { method: 'direct', fallback: undefined };

/** Why that command does not work here, or false. */
function lacking(command, ...args) {
  const tried = spawnSync(command, [...args, 'true'], { encoding: 'utf8' });
  return tried.status === 0 ? false : `${command} ${args.join(' ')} does not work here (${(tried.stderr || String(tried.error)).trim()})`;
}

test('where the kernel gives a whole file it is asked', { skip: noKernelWay }, async (t) => {
  const subject = await startSubject(t, 22);
  const { notes } = await mustCapture(subject, temporaryFolder(t), { method: 'kernel', fallback: undefined });
  assert.deepEqual(notes, []);
});

for (const [who, options] of [
  ['root without CAP_SYS_RESOURCE', { wrap: ['setpriv', '--bounding-set=-sys_resource', '--inh-caps=-sys_resource'], skip: notRoot || lacking('setpriv', '--bounding-set=-sys_resource', '--inh-caps=-sys_resource') }],
  ['another user', { uid: 65534, skip: notRoot }],
]) {
  test(`a hard core limit of 0, as ${who}`, { skip: options.skip }, async (t) => {
    const directory = temporaryFolder(t, { mode: 0o777 });
    const subject = await startSubject(t, 22, { ...options, prlimit: { core: '0:0' } });
    const { notes, threads } = await mustCapture(subject, directory, direct);
    assert.equal(threads.captured, threads.total);
    assert.equal(notes.length, 1);
    assert.match(notes[0], /kernel's way was passed by: .*RLIMIT_CORE.* is 0.*ERR_CORE_LIMIT/);
    const { manifest } = await mustCollect(subject, directory, direct);
    assert.equal(manifest.method ?? manifest.capture?.method, 'direct', JSON.stringify(manifest).slice(0, 500));
    assert.ok(JSON.stringify(manifest.notes).includes('ERR_CORE_LIMIT'));
    await mustFail(subject, { directory, method: 'kernel' }, { code: 'ERR_CORE_LIMIT', message: 'is 0: no core may be written' }, { forms: ['promise'] });
  });
}

test('auto is the default; what the kernel cannot do is done directly', { skip: noKernelWay }, async (t) => {
  const directory = temporaryFolder(t);
  const subject = await startSubject(t, 24, { env: { STILLCORE_METHOD: '' } });
  await mustCapture(subject, directory, { method: 'kernel', fallback: undefined });
  await mustCapture(subject, directory, direct, { maxSize: 1 << 30 });
  await mustCapture(subject, directory, direct, { include: { dontDump: true } });
  execFileSync('prlimit', ['--pid', String(subject.pid), '--core=0:0']);
  await mustCapture(subject, directory, direct);
});

test('STILLCORE_METHOD says the default, the option has the last word', async (t) => {
  const directory = temporaryFolder(t);
  const subject = await startSubject(t, 20, { prlimit: { core: '0:0' }, env: { STILLCORE_METHOD: 'kernel' } });
  await mustFail(subject, { directory }, { code: 'ERR_CORE_LIMIT' }, { forms: ['callback'] });
  await mustCapture(subject, directory, direct, { method: 'direct' });
  await mustCapture(subject, directory, direct, { method: 'auto' });
});

test('RLIMIT_FSIZE smaller than a core, and larger than an archive', async (t) => {
  const directory = temporaryFolder(t);
  const subject = await startSubject(t, 20);
  // Memory that packs well, so that there is room between the two.
  await subject.run(({ kept }) => void (kept.buffer = Buffer.alloc(100 << 20, 'packs well ')));
  execFileSync('prlimit', ['--pid', String(subject.pid), `--fsize=${90 * MB}:${90 * MB}`]);
  const { notes } = await mustCollect(subject, directory, direct);
  assert.match(notes[0], /EFBIG/);
  // A bare core does not fit in any way.
  await mustFail(subject, { directory }, { code: 'EFBIG', syscall: 'write' }, { forms: ['promise'] });
});

test('a disk with room for the archive and not for the core', { skip: noMounts }, async (t) => {
  const folder = temporaryFolder(t);
  const subject = await startSubject(t, 20, { wrap: withMounts(['-t', 'tmpfs', '-o', 'size=90m', 'none', folder]) });
  await subject.run(({ kept }) => void (kept.buffer = Buffer.alloc(100 << 20, 'packs well ')));
  const { notes } = await mustCollect(subject, folder, direct);
  assert.match(notes[0], /ENOSPC/);
  await mustFail(subject, { directory: folder }, { code: 'ENOSPC', syscall: 'write' }, { forms: ['promise'] });
  // Not even for the archive.
  inside(subject, 'mount', '-o', 'remount,size=8m', folder);
  await mustFail(subject, { directory: folder }, { code: 'ENOSPC', syscall: 'write' }, { what: 'collectCore' });
});

test('PR_SET_DUMPABLE 0 hides memory from others, not from a copy that says otherwise', async (t) => {
  for (const uid of isRoot ? [undefined, 65534] : [undefined]) {
    const directory = temporaryFolder(t, { mode: 0o777 });
    const subject = await startSubject(t, 22, { uid, prlimit: { core: '0:0' } });
    await meddle(subject, 'dumpable:0');
    const { threads } = await mustCapture(subject, directory, direct);
    assert.ok(threads.captured >= 1 && threads.captured <= threads.total, JSON.stringify(threads));
    const still = await subject.run(({ require }) => require('node:fs').readFileSync('/proc/self/status', 'latin1').length > 0);
    assert.ok(still);
  }
});

test('no capabilities, and none to be had', { skip: notRoot || lacking('setpriv', '--reuid=65534', '--regid=65534', '--clear-groups', '--bounding-set=-all', '--inh-caps=-all', '--no-new-privs') }, async (t) => {
  const directory = temporaryFolder(t, { mode: 0o777 });
  const wrap = ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups', '--bounding-set=-all', '--inh-caps=-all', '--no-new-privs'];
  const subject = await startSubject(t, 24, { wrap, prlimit: { core: '0:0' } });
  const { threads } = await mustCapture(subject, directory, direct);
  assert.equal(threads.captured, threads.total, 'ptrace of one\'s own needs none');
});

const unshare = ['unshare', '--user', '--map-root-user', '--mount', '--pid', '--fork', '--kill-child'];

test('user, pid and mount namespaces of its own', { skip: lacking(...unshare, '--mount-proc') }, async (t) => {
  const directory = temporaryFolder(t, { mode: 0o777 });
  const subject = await startSubject(t, 22, { wrap: [...unshare, '--mount-proc'], prlimit: { core: '0:0' }, pid: leafOf });
  const { threads } = await mustCapture(subject, directory, direct);
  assert.equal(threads.captured, threads.total);
});

test('a new pid namespace that still sees the old /proc: threads as far as that tells', { skip: lacking(...unshare) }, async (t) => {
  const directory = temporaryFolder(t, { mode: 0o777 });
  const subject = await startSubject(t, 22, { wrap: unshare, prlimit: { core: '0:0' }, pid: leafOf });
  const { threads, notes, pauseMs } = await mustCapture(subject, directory, direct);
  assert.ok(threads.total > 5, JSON.stringify(threads));
  assert.ok(threads.captured > 1, `threads that sleep are known by /proc: ${JSON.stringify(threads)}`);
  assert.ok(notes.some((note) => /could not be stopped/.test(note)), JSON.stringify(notes));
  assert.ok(pauseMs < 2000, `${pauseMs} ms`);
  await answers(subject);
});

test('a read-only directory is a clear error', { skip: noMounts }, async (t) => {
  const folder = temporaryFolder(t);
  const subject = await startSubject(t, 20, { prlimit: { core: '0:0' }, wrap: withMounts(['-t', 'tmpfs', '-o', 'ro', 'none', folder]) });
  await mustFail(subject, { directory: folder }, { code: 'EROFS', syscall: 'mkdir', path: folder }, { forms: ['promise'] });
});

test('patterns that send the core elsewhere, as the process sees them', { skip: noMounts }, async (t) => {
  const folder = temporaryFolder(t);
  const shown = join(folder, 'pattern');
  writeFileSync(shown, 'core\n');
  const subject = await startSubject(t, 22, { wrap: withMounts(['--bind', shown, PATTERN]) });
  const directory = temporaryFolder(t);
  for (const text of ['|/usr/lib/systemd/systemd-coredump %P %u', '/var/crash/core.%e.%p', '@/run/coredump.socket', 'cores/%p']) {
    writeFileSync(shown, `${text}\n`);
    const { notes } = await mustCapture(subject, directory, direct);
    assert.ok(notes[0].includes(`'${text}'`) && notes[0].includes('(ERR_CORE_PATTERN)'), notes[0]);
    await mustFail(subject, { directory, method: 'kernel' }, { code: 'ERR_CORE_PATTERN', message: `'${text}'` }, { forms: ['promise'] });
  }
});

test('a handler that the host pipes cores to is not called', { skip: noPatternChange }, async (t) => {
  const folder = temporaryFolder(t);
  const [program, trace] = [join(folder, 'handler'), join(folder, 'called')];
  writeFileSync(program, `#!/bin/sh\ntouch ${trace}\ncat > /dev/null\n`);
  chmodSync(program, 0o755);
  const subject = await startSubject(t, 24);
  await withCorePattern({ pattern: `|${program} %p` }, () => mustCapture(subject, temporaryFolder(t), direct));
  assert.equal(existsSync(trace), false);
});

test('a kernel attempt that yields nothing is followed by the direct way, and that is told', { skip: noPatternChange || noMounts }, async (t) => {
  const shown = join(temporaryFolder(t), 'pattern');
  writeFileSync(shown, 'core\n');
  const subject = await startSubject(t, 20, { wrap: withMounts(['--bind', shown, PATTERN]) });
  const directory = temporaryFolder(t);
  await withCorePattern({ pattern: 'no-such-folder/core' }, async () => {
    const { notes } = await mustCapture(subject, directory, { method: 'direct', fallback: 'ERR_CORE_PATTERN' });
    assert.match(notes[0], /left no core in the working folder.*ERR_CORE_PATTERN/);
    const { manifest } = await mustCollect(subject, directory, { method: 'direct', fallback: 'ERR_CORE_PATTERN' });
    assert.match(manifest.notes[0], /left no core in the working folder/);
    await mustFail(subject, { directory, method: 'kernel' }, { code: 'ERR_CORE_PATTERN', message: 'left no core' }, { forms: ['promise'] });
  });
  assert.deepEqual(readdirSync(directory), []);
});

test('a core that the kernel cut short is followed by the direct way', async (t) => {
  const directory = temporaryFolder(t);
  const subject = await startSubject(t, 20);
  await subject.run(({ kept }) => void (kept.buffer = Buffer.alloc(50 << 20, 'packs well ')));
  const resident = await subject.run(() => process.memoryUsage.rss());
  const limit = resident + 5 * MB;
  execFileSync('prlimit', ['--pid', String(subject.pid), `--core=${limit}:${limit}`]);
  const { notes } = await mustCapture(subject, directory, { method: 'direct', fallback: 'ERR_CORE_LIMIT' });
  assert.ok(notes[0].includes(`is ${limit} bytes`), notes[0]);
});

/** The one process at the end of a chain of parents. */
async function leafOf(pid) {
  return waitFor(() => {
    let last = pid;
    for (let next; (next = children(last)[0]); last = next.pid);
    return last !== pid && last;
  });
}
