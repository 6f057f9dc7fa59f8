// What the service does with signals, and where it stands, does not matter to its copy.
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, rmSync, rmdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import test from 'node:test';
import { meddle, noOtherUsers } from './support/conditions.mjs';
import { temporaryFolder } from './support/files.mjs';
import { checkCore, children, mustFail, mustSucceed, startSubject } from './support/subject.mjs';

test("the application's own SIGSEGV listener does not keep the copy alive, nor is it called", async (t) => {
  const subject = await startSubject(t, 20);
  await subject.run(({ kept }) => {
    kept.called = 0;
    process.on('SIGSEGV', () => (kept.called += 1));
    process.on('SIGABRT', () => (kept.called += 1));
  });
  await mustSucceed(subject, temporaryFolder(t));
  assert.equal(await subject.run(({ kept }) => kept.called), 0);
});

for (const words of ['ignore:11', 'block:11', 'ignore:11 block:11']) {
  test(`native code has done to SIGSEGV: ${words}`, async (t) => {
    const subject = await startSubject(t, 24);
    await meddle(subject, words);
    await mustSucceed(subject, temporaryFolder(t));
  });
}

test('SIGCHLD is ignored', async (t) => {
  const directory = temporaryFolder(t);
  const subject = await startSubject(t, 22);
  // From now on Node does not learn of the end of its own children: the usual check would wait for ever.
  await meddle(subject, 'ignore:17');
  const { path, error } = await subject.capture('createCore', { directory });
  assert.equal(error, undefined);
  await checkCore(subject, path, directory);
  assert.deepEqual(children(subject.pid), []);
});

test('no SIGCHLD of a copy comes to the application', async (t) => {
  const subject = await startSubject(t, 26);
  await subject.run(({ kept }) => {
    kept.called = 0;
    process.on('SIGCHLD', () => (kept.called += 1));
  });
  const directory = temporaryFolder(t);
  const { path } = await subject.capture('createCore', { directory });
  rmSync(dirname(path), { recursive: true });
  assert.equal(await subject.run(({ kept }) => kept.called), 0);
});

test('the current directory is deleted', async (t) => {
  const folder = temporaryFolder(t);
  const cwd = join(folder, 'cwd');
  mkdirSync(cwd);
  const subject = await startSubject(t, 20, { cwd });
  rmdirSync(cwd);
  await mustFail(subject, undefined, { code: 'ENOENT', syscall: 'uv_cwd' });
  await mustSucceed(subject, temporaryFolder(t));
  assert.equal(existsSync(cwd), false);
});

test('PR_SET_DUMPABLE is 0, and no privilege helps', { skip: noOtherUsers }, async (t) => {
  for (const [node, options] of [[20, {}], [24, { uid: 65534 }]]) {
    const directory = temporaryFolder(t, { mode: 0o777 });
    const subject = await startSubject(t, node, options);
    await meddle(subject, 'dumpable:0');
    await mustSucceed(subject, directory);
  }
});

test('a user without capabilities, with no_new_privs', { skip: noOtherUsers }, async (t) => {
  const directory = temporaryFolder(t, { mode: 0o777 });
  const subject = await startSubject(t, 26, {
    wrap: ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups', '--no-new-privs', '--bounding-set=-all', '--inh-caps=-all', '--'],
  });
  await mustSucceed(subject, directory);
});
