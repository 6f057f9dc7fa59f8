// streamCore: the archive of collectCore, without a byte on disk, as fast or as slow as its reader.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFileSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { works } from '../scripts/workspace.mjs';
import { captureIn, holds, manifestOf } from './support/captures.mjs';
import { noMounts, withMounts } from './support/conditions.mjs';
import { temporaryFolder, waitFor } from './support/files.mjs';
import { nodes } from './support/nodes.mjs';
import { runNode } from './support/run.mjs';
import { answers, asBefore, children, startSubject, stateOf } from './support/subject.mjs';

// subject.mjs asks for the kernel's way.
process.env.STILLCORE_METHOD = 'auto';

const execute = promisify(execFile);
const program = fileURLToPath(new URL('programs/stream.cjs', import.meta.url));
const inMemory = { parent: '/dev/shm' };
const noZstd = works('zstd') ? false : 'zstd is not installed here';

/** Streams into a file of ours, in the subject; gives what the stream told: { capture, error, bytes, ms, events }. */
function streamTo(subject, path, options = {}) {
  return subject.run(async ({ stillcore, describe, require }, path, options) => {
    const { createWriteStream } = require('node:fs');
    const start = performance.now();
    const answer = { events: [] };
    const stream = stillcore.streamCore(options);
    stream.on('capture', (capture) => (answer.capture = capture));
    for (const name of ['capture', 'end', 'error', 'close']) stream.on(name, () => answer.events.push(name));
    try {
      await require('node:stream/promises').pipeline(stream, createWriteStream(path));
    } catch (error) {
      answer.error = describe(error);
    }
    answer.ms = performance.now() - start;
    await new Promise((resolve) => setImmediate(resolve));
    return answer;
  }, path, options);
}

const list = async (path, ...options) => (await execute('tar', [...options, '-tf', path])).stdout.trim().split('\n');

for (const node of await nodes()) {
  // The cores of the newer ones are larger by a hole of half a gigabyte, which takes tar its time.
  if (![20, 24].includes(node.major)) continue;
  test(`the same archive as collectCore's, on ${node.label}`, { skip: node.skip }, async (t) => {
    const [directory, empty] = [temporaryFolder(t, inMemory), temporaryFolder(t)];
    const subject = await startSubject(t, node, { cwd: empty, env: { STILLCORE_DIRECTORY: empty } });
    const before = stateOf(subject, empty);
    const path = join(directory, 'streamed.tar.gz');
    const { capture, error, events } = await streamTo(subject, path);
    assert.equal(error, undefined, JSON.stringify(error));
    assert.deepEqual(events, ['capture', 'end', 'close']);
    assert.equal(capture.path, undefined);
    assert.equal(capture.method, 'direct');
    assert.equal(capture.bytes, statSync(path).size);
    assert.equal(capture.threads.captured, capture.threads.total);
    assert.deepEqual(capture.notes, []);
    const manifest = await manifestOf(path);
    await holds(path, subject.markers[0]);
    assert.deepEqual(readdirSync(empty), [], 'nothing on disk');
    await asBefore(subject, before, empty);

    const { capture: collected } = await captureIn(subject, { directory, method: 'direct' });
    const other = await manifestOf(collected.path);
    const names = (one) => one.files.map(({ path, sha256, buildId }) => ({ path, sha256, buildId })).sort((a, b) => (a.path < b.path ? -1 : 1));
    assert.deepEqual(names(manifest), names(other));
    assert.deepEqual(Object.keys(manifest), Object.keys(other));
    const entries = await list(path);
    assert.equal(new Set(entries.map((entry) => entry.split('/')[0])).size, 1, 'one folder on top');
    assert.match(entries[0], new RegExp(`^core_\\d{8}\\.\\d{6}\\.${subject.pid}\\.`));
    assert.equal(entries.filter((entry) => /^[^/]+\/core$/.test(entry)).length, 1);
  });
}

test('as .tar.zst and as plain .tar', async (t) => {
  const directory = temporaryFolder(t, inMemory);
  const subject = await startSubject(t, 22);
  const plain = join(directory, 'a.tar');
  const { error } = await streamTo(subject, plain, { compression: 'none' });
  assert.equal(error, undefined, JSON.stringify(error));
  assert.equal(readFileSync(plain).toString('latin1', 257, 262), 'ustar');
  assert.ok((await list(plain)).some((entry) => /\/core$/.test(entry)));
  await holds(plain, subject.markers[0]);

  const packed = join(directory, 'a.tar.zst');
  await streamTo(subject, packed, { compression: 'zstd', level: 3 });
  assert.equal(readFileSync(packed).readUInt32LE(0), 0xfd2fb528);
  if (noZstd) return t.diagnostic(noZstd);
  await execute('zstd', ['-q', '-t', packed]);
  await execute('zstd', ['-q', '-d', packed, '-o', join(directory, 'b.tar')]);
  assert.ok((await list(join(directory, 'b.tar'))).some((entry) => /\/core$/.test(entry)));
  await holds(join(directory, 'b.tar'), subject.markers[1]);
});

test('a slow reader slows the capture, and gets all of it', async (t) => {
  const subject = await startSubject(t, 20);
  const before = stateOf(subject);
  const result = await subject.run(async ({ stillcore, kept, require }) => {
    kept.noise = require('node:crypto').randomBytes(24 << 20);
    const stream = stillcore.streamCore({ stallTimeout: 2000 });
    let [bytes, most, capture] = [0, 0];
    stream.on('capture', (one) => (capture = one));
    const rss = process.memoryUsage.rss();
    for await (const chunk of stream) {
      bytes += chunk.length;
      most = Math.max(most, process.memoryUsage.rss() - rss);
      await new Promise((resolve) => setTimeout(resolve, 40));
    }
    delete kept.noise;
    return { bytes, most, capture };
  });
  assert.equal(result.bytes, result.capture.bytes);
  t.diagnostic(`${result.bytes} bytes in ${result.capture.totalMs.toFixed(0)} ms, ${result.most >> 20} MB more memory`);
  assert.ok(result.capture.totalMs > 1000, 'it was slow');
  assert.ok(result.most < 100 << 20, `${result.most} bytes more`);
  await asBefore(subject, before);
});

test('a reader that stops: ERR_CORE_TIMEOUT after the stall limit, and the copy is gone', async (t) => {
  const subject = await startSubject(t, 22);
  const before = stateOf(subject);
  const { error, ms, left } = await subject.run(({ stillcore, describe, kept, require }) => {
    kept.noise = require('node:crypto').randomBytes(24 << 20);
    const start = performance.now();
    const stream = stillcore.streamCore({ stallTimeout: 700 });
    stream.once('readable', () => stream.read(1000)); // and no more
    return new Promise((resolve) => {
      stream.on('end', () => resolve({ left: 'ended' }));
      stream.on('error', (error) => resolve({ error: describe(error), ms: performance.now() - start }));
    });
  });
  assert.equal(left, undefined);
  assert.equal(error?.code, 'ERR_CORE_TIMEOUT', JSON.stringify(error));
  assert.match(error.message, /made no progress.*stallTimeout/);
  assert.ok(ms > 600 && ms < 5000, `${ms} ms`);
  await asBefore(subject, before);
});

test('destroy() ends the capture and the copy; so does a reader that goes away', async (t) => {
  const subject = await startSubject(t, 24);
  const before = stateOf(subject);
  for (const after of [0, 1, 30]) {
    const events = await subject.run(({ stillcore }, after) => new Promise((resolve) => {
      const stream = stillcore.streamCore();
      const events = [];
      for (const name of ['capture', 'end', 'error', 'close']) stream.on(name, (error) => events.push(error?.message ?? name));
      if (after === 30) stream.on('data', () => stream.destroy());
      else setTimeout(() => stream.destroy(after ? new Error('the client went away') : undefined), after);
      stream.on('close', () => setTimeout(resolve, 100, events));
    }), after);
    assert.deepEqual(events, after === 1 ? ['the client went away', 'close'] : ['close']);
    await asBefore(subject, before);
  }
  // As `for await` does when it is left.
  await subject.run(async ({ stillcore }) => {
    for await (const _ of stillcore.streamCore()) break;
  });
  await asBefore(subject, before);
});

test('an AbortSignal, before and in the middle', async (t) => {
  const subject = await startSubject(t, 26);
  const before = stateOf(subject);
  for (const ms of [-1, 0, 20]) {
    const error = await subject.run(({ stillcore, describe }, ms) => new Promise((resolve) => {
      const controller = new AbortController();
      if (ms < 0) controller.abort(new Error('no more'));
      const stream = stillcore.streamCore({ signal: controller.signal });
      stream.once('readable', () => {}); // begins to read, and stops
      stream.on('error', (error) => resolve(describe(error)));
      stream.on('end', () => resolve({ name: 'ended' }));
      if (ms >= 0) setTimeout(() => controller.abort(new Error('no more')), ms);
    }), ms);
    assert.equal(error.name, 'AbortError', JSON.stringify(error));
    assert.equal(error.code, 'ABORT_ERR');
    assert.equal(error.cause, 'Error: no more');
    await asBefore(subject, before);
  }
});

test('from a working folder that cannot be written, where core files are forbidden', { skip: noMounts }, async (t) => {
  const [folder, directory] = [temporaryFolder(t), temporaryFolder(t, inMemory)];
  const path = join(directory, 'a.tar.gz');
  const wrap = [...withMounts(['-t', 'tmpfs', '-o', 'ro', 'none', folder]), 'sh', '-c', '"$@" | cat > "$0"', path];
  const { code, stderr } = await runNode(22, program, { cwd: folder, prlimit: { core: '0:0', fsize: '0:0' }, wrap });
  assert.equal(stderr, '');
  assert.equal(code, 0);
  assert.ok((await list(path)).some((entry) => /\/core$/.test(entry)));
  assert.equal((await manifestOf(path)).node, (await nodes()).find(({ major }) => major === 22).version);
});

test('from a worker, and a worker that ends takes its stream with it', async (t) => {
  const subject = await startSubject(t, 22);
  const before = stateOf(subject);
  const bytes = await subject.run(({ require }) => new Promise((resolve, reject) => {
    const { Worker } = require('node:worker_threads');
    const worker = new Worker(`
      const { parentPort, workerData } = require('node:worker_threads');
      const stream = require(workerData).streamCore();
      let bytes = 0;
      stream.on('data', (chunk) => (bytes += chunk.length)).on('end', () => parentPort.postMessage(bytes));
    `, { eval: true, workerData: require.resolve(process.env.STILLCORE_UNDER_TEST || '../../index.js') });
    worker.on('message', resolve).on('error', reject);
  }));
  assert.ok(bytes > 1 << 20);
  await subject.run(({ require }) => new Promise((resolve, reject) => {
    const { Worker } = require('node:worker_threads');
    const worker = new Worker(`
      const { parentPort, workerData } = require('node:worker_threads');
      require(workerData).streamCore().once('readable', () => parentPort.postMessage('begun'));
    `, { eval: true, workerData: require.resolve(process.env.STILLCORE_UNDER_TEST || '../../index.js') });
    worker.on('message', () => worker.terminate().then(resolve)).on('error', reject);
  }));
  await waitFor(() => children(subject.pid).length === 0);
  await asBefore(subject, before);
});

test('arguments: the kernel cannot stream', async (t) => {
  const subject = await startSubject(t, 20, { env: { STILLCORE_METHOD: 'kernel' } });
  const codes = await subject.run(({ stillcore }) => [{ method: 'kernel' }, { compression: 'rar' }, 7].map((options) => {
    try {
      stillcore.streamCore(options).destroy();
    } catch (error) {
      return [error.name, error.code];
    }
  }));
  assert.deepEqual(codes, [['TypeError', 'ERR_INVALID_ARG_VALUE'], ['TypeError', 'ERR_INVALID_ARG_VALUE'], ['TypeError', 'ERR_INVALID_ARG_TYPE']]);
  // The variable is a default for what can have it.
  const directory = temporaryFolder(t, inMemory);
  const { error } = await streamTo(subject, join(directory, 'a.tar.gz'));
  assert.equal(error, undefined, JSON.stringify(error));
  await answers(subject);
});
