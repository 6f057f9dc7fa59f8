// Yama says who may trace whom: nobody but an ancestor, or whom the process names (1), only who is privileged (2), nobody (3).
// The kernel here may have none, and its setting is the host's: so this runs in a Linux of its own, which runs as a program.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { chmodSync, copyFileSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { userModeLinux } from '../scripts/cross.mjs';
import { hostPlatform, NoToolchain, root, works } from '../scripts/workspace.mjs';
import { temporaryFolder } from './support/files.mjs';
import { nodes } from './support/nodes.mjs';

const [node] = await nodes();
const OTHER = 1000;

test('yama: the helper is named, and captures go on where nobody may trace', { timeout: 300_000, skip: node.skip }, async (t) => {
  let linux;
  try {
    linux = userModeLinux();
  } catch (error) {
    if (!(error instanceof NoToolchain)) throw error;
    return t.skip(error.message);
  }
  if (!works('setpriv')) return t.skip('there is no setpriv here');
  const folder = temporaryFolder(t);
  chmodSync(folder, 0o755);
  for (const name of ['index.js', 'package.json', hostPlatform().binary]) copyFileSync(join(root, name), join(folder, name));
  mkdirSync(join(folder, 'out'));
  writeFileSync(join(folder, 'subject.js'), `
    const { capture, doctor } = require('./index.js');
    const { readFileSync } = require('node:fs');
    const scope = Number(readFileSync('/proc/sys/kernel/yama/ptrace_scope', 'latin1'));
    const tell = (told) => console.log('told ' + JSON.stringify({ scope, root: process.getuid() === 0, ...told }));
    const take = () => capture({ method: 'direct', what: 'core', directory: ${JSON.stringify(join(folder, 'out'))} });
    doctor().then(async ({ yama }) => {
      const first = await take();
      const { threads, notes } = await take();
      tell({ yama, first: first.threads, threads, notes });
    }).catch(({ code, message }) => tell({ code, message }));
  `);
  const binary = node.path ?? process.execPath;
  const init = join(folder, 'init.sh');
  // 0xfee1dead: the end of that Linux, for what stands for its reboot program.
  writeFileSync(init, `#!/bin/sh
    mount -t proc proc /proc
    mount -t tmpfs none '${join(folder, 'out')}'
    chmod 777 '${join(folder, 'out')}'
    cd '${folder}'
    for scope in 0 1 2 3; do
      echo $scope > /proc/sys/kernel/yama/ptrace_scope || echo no yama
      setpriv --reuid ${OTHER} --regid ${OTHER} --clear-groups '${binary}' subject.js 2>&1
      '${binary}' subject.js 2>&1
      rm -rf '${join(folder, 'out')}'/core*
    done
    echo the end
    echo o > /proc/sysrq-trigger
    sleep 60
  `);
  chmodSync(init, 0o755);
  const child = spawn(linux, ['mem=2048M', 'rootfstype=hostfs', 'rw', 'root=/dev/root', `init=${init}`, 'lsm=yama', 'con=null', 'con0=fd:0,fd:1', `uml_dir=${folder}`, 'quiet'], {
    cwd: folder, env: { ...process.env, HOME: folder, TMPDIR: '/dev/shm' }, stdio: ['ignore', 'pipe', 'pipe'],
  });
  t.after(() => child.kill('SIGKILL'));
  let output = '';
  await new Promise((resolve) => {
    for (const stream of [child.stdout, child.stderr]) {
      stream.on('data', (chunk) => {
        output += chunk;
        if (output.includes('the end')) resolve();
      });
    }
    child.once('exit', resolve);
  });
  const told = [...output.matchAll(/^told (\{.*\})\s*$/gm)].map(([, line]) => JSON.parse(line));
  if (told.length === 0) return t.skip(`that Linux does not run here: ${output.slice(-300)}`);
  assert.equal(told.length, 8, output.slice(-2000));
  for (const { scope, root: isRoot, yama, first, threads, notes, code, message } of told) {
    const who = `ptrace_scope ${scope}, ${isRoot ? 'root' : 'another user'}`;
    assert.equal(code, undefined, `${who}: ${message}`);
    assert.equal(yama, scope);
    const may = scope <= 1 || (scope === 2 && isRoot);
    t.diagnostic(`${who}: ${threads.captured} of ${threads.total} threads`);
    // The second one shows that naming the helper was taken back rightly after the first.
    assert.ok(threads.total > 4);
    if (may) {
      assert.deepEqual([first.captured, threads.captured], [first.total, threads.total], who);
      assert.deepEqual(notes, [], who);
    } else {
      assert.ok(notes.some((note) => /could not be stopped|calling thread only/.test(note)), `${who}: ${notes}`);
    }
  }
});
