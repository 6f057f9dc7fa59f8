// Captures that are not allowed: by Node's permission model, by an environment variable, by a missing /proc.
import assert from 'node:assert/strict';
import { mkdirSync, readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import test from 'node:test';
import { fileURLToPath } from 'node:url';
import { noMounts, withMounts } from './support/conditions.mjs';
import { temporaryFolder } from './support/files.mjs';
import { nodes } from './support/nodes.mjs';
import { runNode } from './support/run.mjs';
import { assertError, mustFail, mustSucceed, startSubject } from './support/subject.mjs';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const common = ['--allow-fs-read=*', '--allow-worker', '--allow-child-process'];

for (const node of await nodes()) {
  const model = node.major < 24 ? '--experimental-permission' : '--permission';

  test(`ERR_ACCESS_DENIED: the permission model of ${node.label}`, { skip: node.skip }, async (t) => {
    const folder = temporaryFolder(t);
    const [open, closed] = ['open', 'closed'].map((name) => join(folder, name));
    mkdirSync(open);
    mkdirSync(closed);
    const subject = await startSubject(t, node, { execArgv: [model, ...common, '--allow-addons', `--allow-fs-write=${open}`] });
    await mustFail(subject, { directory: closed }, {
      code: 'ERR_ACCESS_DENIED', message: [/^Access to this API has been restricted/, `'${closed}'`, `--allow-fs-write=${closed}`],
    });
    const details = await subject.run(({ createCore }, directory) => createCore({ directory }).catch(({ permission, resource }) => [permission, resource]), closed);
    assert.deepEqual(details, ['FileSystemWrite', closed], 'as Node itself tells it');
    // A path that only begins like one that is allowed, and one that leads out of it.
    await mustFail(subject, { directory: `${open}-too` }, { code: 'ERR_ACCESS_DENIED' }, { forms: ['promise'] });
    await mustFail(subject, { directory: `${open}/../closed` }, { code: 'ERR_ACCESS_DENIED' }, { forms: ['promise'] });
    await mustSucceed(subject, open);
  });

  test(`without --allow-addons the module loads on ${node.label}, and calls say why they fail`, { skip: node.skip }, async (t) => {
    const directory = temporaryFolder(t);
    const subject = await startSubject(t, node, { execArgv: [model, ...common, '--allow-fs-write=*'] });
    const expected = { code: 'ERR_UNSUPPORTED_PLATFORM', message: /addons? .*(disabled|denied|restricted)|--allow-addons|addon/i };
    for (const form of ['promise', 'callback']) assertError(await subject.capture('createCore', { directory }, form), expected);
  });
}

test('ERR_CORE_DISABLED: STILLCORE_DISABLE=1, and only that', async (t) => {
  const directory = temporaryFolder(t);
  const subject = await startSubject(t, 22, { env: { STILLCORE_DISABLE: '1' } });
  const expected = { code: 'ERR_CORE_DISABLED', message: 'STILLCORE_DISABLE=1' };
  await mustFail(subject, { directory }, expected);
  await mustFail(subject, { directory }, expected, { what: 'collectCore' });
  await subject.run(() => void (process.env.STILLCORE_DISABLE = '0'));
  await mustSucceed(subject, directory);
});

test('ERR_CORE_NO_PROC: no /proc, or one without /proc/sys', { skip: noMounts }, async (t) => {
  const directory = temporaryFolder(t);
  for (const mount of [['-t', 'tmpfs', 'none', '/proc'], ['-t', 'tmpfs', 'none', '/proc/sys']]) {
    const source = `
      const { createCore } = require(${JSON.stringify(join(root, 'index.js'))});
      createCore({ directory: ${JSON.stringify(directory)} }, ({ code, message }) => console.log(code, message));
    `;
    const { code, stdout, stderr } = await runNode(20, { source }, { wrap: withMounts(mount) });
    assert.equal(code, 0, stderr);
    assert.match(stdout, /^ERR_CORE_NO_PROC .*without \/proc/);
    assert.deepEqual(readdirSync(directory), []);
  }
});
