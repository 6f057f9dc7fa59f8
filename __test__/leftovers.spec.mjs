// The process ends, or is killed, while captures run: the copy dies with it, nothing has a final name, and what is
// left goes with the next capture. And several processes use one directory.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import test from 'node:test';
import { holdPool } from './support/conditions.mjs';
import { temporaryFolder, waitFor } from './support/files.mjs';
import { runNode, startNode } from './support/run.mjs';
import {
  answerOf, asBefore, begin, children, grow, mustSucceed, processes, startSubject, stateOf, untilDumping, untilPacking,
  working,
} from './support/subject.mjs';

const library = new URL('../index.js', import.meta.url).pathname;

/** Waits for the end of those processes, by whoever reaps them now. */
async function gone(pids) {
  await waitFor(() => processes().every(({ pid, state }) => !pids.includes(pid) || state === 'Z'), { what: 'the copies to die' });
}

const stages = {
  'in line': async (t, subject, directory) => {
    await holdPool(t, subject);
    await begin(subject, 'core', 'createCore', { directory });
    await waitFor(() => children(subject.pid).length === 1);
  },
  'while the kernel writes': async (t, subject, directory) => {
    await grow(subject, 250);
    await begin(subject, 'core', 'createCore', { directory });
    await untilDumping(subject, directory);
  },
  'while the archive is packed': async (t, subject, directory) => {
    await grow(subject, 100);
    await begin(subject, 'core', 'collectCore', { directory });
    await untilPacking(subject, directory);
  },
};

for (const [when, reach] of Object.entries(stages)) {
  test(`the process is killed ${when}: its copy dies, and the next capture of another clears up`, async (t) => {
    const directory = temporaryFolder(t);
    const subject = await startSubject(t, 20);
    await reach(t, subject, directory);
    const copies = children(subject.pid).map(({ pid }) => pid);
    process.kill(subject.pid, 'SIGKILL');
    assert.equal((await subject.ended).signal, 'SIGKILL');
    await gone(copies);
    assert.deepEqual(readdirSync(directory).filter((name) => !name.startsWith('.core_')), [], 'nothing has a final name');
    assert.equal(working({ pid: 0 }, directory).length, 1);

    const next = await startSubject(t, 24);
    const { path, error } = await next.capture('createCore', { directory });
    assert.equal(error, undefined);
    assert.deepEqual(readdirSync(directory), [basename(dirname(path))]);
  });

  if (when === 'in line') continue; // Its pool is held by the test, and that would hold up the exit itself.
  test(`process.exit() ${when}: nothing is left at all, and the exit is not held up`, async (t) => {
    const directory = temporaryFolder(t);
    const subject = await startSubject(t, 22);
    await reach(t, subject, directory);
    const copies = children(subject.pid).map(({ pid }) => pid);
    const start = performance.now();
    subject.run(() => process.exit(23)).catch(() => {});
    assert.equal((await subject.ended).code, 23);
    const took = performance.now() - start;
    assert.ok(took < 2500, `it took ${took} ms`);
    assert.deepEqual(readdirSync(directory), []);
    await gone(copies);
  });
}

test('process.exit() with five captures, of which four wait', async (t) => {
  const directory = temporaryFolder(t);
  const subject = await startSubject(t, 26);
  await grow(subject, 100);
  for (const name of ['1', '2', '3', '4', '5']) await begin(subject, name, 'createCore', { directory });
  const copies = children(subject.pid).map(({ pid }) => pid);
  subject.run(() => process.exit()).catch(() => {});
  assert.equal((await subject.ended).code, 0);
  assert.deepEqual(readdirSync(directory), []);
  await gone(copies);
});

test('an uncaught exception while a capture runs ends the process as ever', async (t) => {
  const directory = temporaryFolder(t);
  const subject = await startSubject(t, 24);
  await begin(subject, 'core', 'createCore', { directory });
  subject.run(() => void setImmediate(() => { throw new Error('on purpose'); })).catch(() => {});
  const { code, stderr } = await subject.ended;
  assert.equal(code, 1);
  assert.match(stderr, /Error: on purpose/);
  assert.deepEqual(readdirSync(directory), []);
});

test('SIGTERM without a listener ends the process at once; the copy dies too', async (t) => {
  const directory = temporaryFolder(t);
  const subject = await startSubject(t, 20);
  await grow(subject, 200);
  await begin(subject, 'core', 'createCore', { directory });
  await untilDumping(subject, directory);
  const copies = children(subject.pid).map(({ pid }) => pid);
  process.kill(subject.pid, 'SIGTERM');
  assert.equal((await subject.ended).signal, 'SIGTERM');
  await gone(copies);
  assert.deepEqual(readdirSync(directory).filter((name) => !name.startsWith('.core_')), []);
});

test('a process with nothing else to do waits for its capture', async (t) => {
  const directory = temporaryFolder(t);
  const source = `require(${JSON.stringify(library)}).createCore({ directory: ${JSON.stringify(directory)} }).then(console.log)`;
  for (const form of [source, source.replace('.then(console.log)', '').replace(' })', ' }, (error, path) => console.log(error ?? path))')]) {
    const { code, stdout, stderr } = await runNode(22, { source: form });
    assert.equal(code, 0, stderr);
    assert.equal(stdout.trim(), join(directory, basename(dirname(stdout.trim())), 'core'));
    assert.ok(existsSync(stdout.trim()));
    rmSync(dirname(stdout.trim()), { recursive: true });
  }
});

test('a worker ends by process.exit(), terminate() or an exception: its captures end, those of others go on', async (t) => {
  const directory = temporaryFolder(t);
  const subject = await startSubject(t, 22);
  await grow(subject, 50);
  for (const end of ['process.exit()', 'setImmediate(() => { throw new Error("on purpose") })', 'wait']) {
    const before = stateOf(subject, directory);
    // The main thread's capture is first, so that those of the worker wait behind it.
    await subject.run(({ kept, capture, require }, library, directory, end) => new Promise((resolve, reject) => {
      const { Worker } = require('node:worker_threads');
      const source = `
        const { parentPort, workerData: { library, directory } } = require('node:worker_threads');
        const { createCore } = require(library);
        for (let i = 0; i < 2; i += 1) createCore({ directory }, () => parentPort.postMessage('called back'));
        parentPort.postMessage('begun');
        parentPort.once('message', () => { ${end} });
      `;
      kept.own = capture('createCore', { directory });
      kept.messages = [];
      kept.worker = new Worker(source, { eval: true, workerData: { library, directory } });
      kept.worker.on('error', (error) => kept.messages.push(error.message));
      kept.worker.on('message', (message) => (message === 'begun' ? resolve() : kept.messages.push(message)));
      kept.left = new Promise((exit) => kept.worker.on('exit', exit));
    }), library, directory, end);
    await subject.run(async ({ kept }, end) => {
      if (end === 'wait') kept.worker.terminate();
      else kept.worker.postMessage('end');
      await kept.left;
    }, end);
    const messages = await subject.run(({ kept }) => kept.messages);
    assert.deepEqual(messages, end.includes('throw') ? ['on purpose'] : []);
    const { path, error } = await answerOf(subject, 'own');
    assert.equal(error, undefined);
    rmSync(dirname(path), { recursive: true });
    await asBefore(subject, before, directory);
  }
  await mustSucceed(subject, directory);
});

test('a folder that a living process works in stays, whatever its age', async (t) => {
  const directory = temporaryFolder(t);
  const one = await startSubject(t, 20);
  const other = await startSubject(t, 26);
  const pool = await holdPool(t, one);
  await begin(one, 'core', 'createCore', { directory });
  await waitFor(() => working(one, directory).length === 1);
  const [{ name }] = working(one, directory);
  execFileSync('touch', ['--date=2020-01-01', join(directory, name)]);
  await mustSucceed(other, directory);
  assert.equal(existsSync(join(directory, name)), true);
  await pool.release();
  assert.equal((await answerOf(one, 'core')).error, undefined);
});

test('two processes capture into one directory at the same time', async (t) => {
  const directory = temporaryFolder(t);
  const subjects = [await startSubject(t, 20), await startSubject(t, 22)];
  await Promise.all(subjects.map((subject) => begin(subject, 'core', 'createCore', { directory })));
  const paths = [];
  for (const subject of subjects) {
    const { path, error } = await answerOf(subject, 'core');
    assert.equal(error, undefined);
    paths.push(path);
  }
  assert.equal(new Set(paths).size, 2);
  assert.deepEqual(readdirSync(directory).sort(), paths.map((path) => basename(dirname(path))).sort());
});

test('pods with one volume: all have the same pid, and nothing is overwritten', async (t) => {
  const directory = temporaryFolder(t);
  const wrap = ['unshare', '--pid', '--fork', '--mount-proc', '--kill-child', '--'];
  try {
    execFileSync(wrap[0], [...wrap.slice(1), 'true'], { stdio: 'pipe' });
  } catch (error) {
    return t.skip(`no pid namespaces here (${String(error.stderr).trim()})`);
  }
  const source = `
    const { createCore } = require(${JSON.stringify(library)});
    console.log('ready', process.pid);
    process.stdin.once('data', async () => {
      const all = [1, 2, 3].map(() => createCore({ directory: ${JSON.stringify(directory)} }));
      console.log(JSON.stringify(await Promise.all(all)));
      process.exit();
    });
  `;
  const pods = [];
  for (let i = 0; i < 2; i += 1) pods.push(await startNode(20, { source }, { t, wrap }));
  for (const pod of pods) await pod.line('ready 1');
  // At the beginning of a second, so that all of them have the same time in their names.
  await new Promise((resolve) => setTimeout(resolve, 1010 - (Date.now() % 1000)));
  for (const pod of pods) pod.child.stdin.write('now\n');
  const paths = [];
  for (const pod of pods) {
    const { code, stdout, stderr } = await pod.done;
    assert.equal(code, 0, stderr);
    paths.push(...JSON.parse(stdout.split('\n').find((line) => line.startsWith('['))));
  }
  assert.equal(new Set(paths).size, 6);
  const names = paths.map((path) => basename(dirname(path)));
  assert.deepEqual(readdirSync(directory).sort(), names.sort());
  assert.ok(names.every((name) => name.includes('.1.')), names.join());
  // At least one had to take another number than its own count.
  assert.ok(names.some((name) => Number(name.split('.').at(-1)) > 3), names.join());
});

test('what has the name that would come next is never overwritten', async (t) => {
  const directory = temporaryFolder(t);
  const subject = await startSubject(t, 24);
  const taken = [];
  for (let second = 0; second < 8; second += 1) {
    const time = new Date(Date.now() + second * 1000);
    const two = (number) => String(number).padStart(2, '0');
    const day = `${time.getFullYear()}${two(time.getMonth() + 1)}${two(time.getDate())}`;
    const stem = `core_${day}.${two(time.getHours())}${two(time.getMinutes())}${two(time.getSeconds())}.${subject.pid}`;
    writeFileSync(join(directory, `${stem}.001`), 'theirs');
    mkdirSync(join(directory, `${stem}.002`));
    writeFileSync(join(directory, `${stem}.003.tar.gz`), 'theirs');
    taken.push(`${stem}.001`, `${stem}.002`, `${stem}.003.tar.gz`);
  }
  const { path } = await subject.capture('createCore', { directory });
  assert.match(path, /\.004\/core$/);
  for (const name of taken) {
    const found = join(directory, name);
    assert.equal(statSync(found).isDirectory() ? readdirSync(found).join() : readFileSync(found, 'utf8'), name.endsWith('2') ? '' : 'theirs');
  }
  rmSync(dirname(path), { recursive: true });
  assert.deepEqual(readdirSync(directory).sort(), taken.sort());
});
