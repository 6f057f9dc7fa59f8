// capture(): what it tells, and what its options do.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { closeSync, openSync, readFileSync, readSync, statSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { basename, dirname } from 'node:path';
import test from 'node:test';
import { promisify } from 'node:util';
import { works } from '../scripts/workspace.mjs';
import { captureIn, manifestOf, mustCapture } from './support/captures.mjs';
import { meddle } from './support/conditions.mjs';
import { missingRanges, readElf, threadsOf } from './support/core-file.mjs';
import { hasText, temporaryFolder } from './support/files.mjs';
import { asBefore, mappings, startSubject, stateOf } from './support/subject.mjs';

// subject.mjs asks for the kernel's way.
process.env.STILLCORE_METHOD = 'auto';

const execute = promisify(execFile);
const inMemory = { parent: '/dev/shm' };
const asked = { method: 'direct' };
const MB = 1 << 20;

test('what a capture tells', async (t) => {
  const directory = temporaryFolder(t, inMemory);
  const subject = await startSubject(t, 22);
  for (const what of ['core', 'archive']) {
    const start = performance.now();
    const { capture, error } = await captureIn(subject, { directory, what, ...asked });
    const took = performance.now() - start;
    assert.equal(error, undefined, JSON.stringify(error));
    const fields = ['path', 'method', 'pauseMs', 'totalMs', 'bytes', 'threads', 'skipped', 'notes'];
    assert.deepEqual(Object.keys(capture), fields);
    assert.equal(capture.method, 'direct');
    assert.ok(capture.pauseMs > 0 && capture.pauseMs < capture.totalMs && capture.totalMs <= took, JSON.stringify([capture.pauseMs, capture.totalMs, took]));
    assert.equal(capture.bytes, statSync(capture.path).size);
    assert.ok(Number.isInteger(capture.threads.total) && capture.threads.captured === capture.threads.total);
    assert.deepEqual(capture.notes, []);
    assert.ok(capture.skipped.some(({ name }) => name === '[vvar]'));
    for (const one of capture.skipped) {
      assert.deepEqual(Object.keys(one), ['start', 'end', 'name', 'reason']);
      assert.match(one.start, /^0x[0-9a-f]+$/);
      assert.ok(BigInt(one.start) < BigInt(one.end) && one.reason);
    }
    assert.match(basename(what === 'core' ? dirname(capture.path) : capture.path), what === 'core' ? /^core_[\d.]+$/ : /^core_[\d.]+\.tar\.gz$/);
    if (what === 'archive') {
      const manifest = await manifestOf(capture.path);
      assert.deepEqual(manifest.skipped, capture.skipped);
      assert.deepEqual(manifest.threads, { ...capture.threads, how: 'stopped' });
    }
  }
});

test('createCore and collectCore are short forms of it, with all its options', async (t) => {
  const directory = temporaryFolder(t, inMemory);
  const subject = await startSubject(t, 20);
  const core = await subject.capture('createCore', { directory, ...asked }, 'callback');
  assert.equal(threadsOf(readElf(core.path))[0].tid, subject.pid);
  const { path } = await subject.capture('collectCore', { directory, ...asked, compression: 'none' }, 'callback');
  assert.match(path, /\d\.tar$/);
});

test('onProgress', async (t) => {
  const directory = temporaryFolder(t, inMemory);
  const subject = await startSubject(t, 22);
  const before = stateOf(subject, directory);
  const { told, path, after } = await subject.run(async ({ stillcore, kept, require }, directory) => {
    kept.noise = require('node:crypto').randomBytes(40 << 20);
    const told = [];
    const { path } = await stillcore.capture({ directory, method: 'direct', level: 9, compressionThreads: 1, onProgress: (progress) => told.push(progress) });
    const count = told.length;
    await new Promise((resolve) => setTimeout(resolve, 200));
    delete kept.noise;
    return { told, path, after: told.length - count };
  }, directory);
  assert.equal(after, 0, 'told after the end');
  assert.ok(told.length >= 3, `only ${told.length} times`);
  const writing = told.filter(({ phase }) => phase === 'writing');
  assert.ok(writing.length >= 2, JSON.stringify(told));
  for (const [index, { phase, bytes, total }] of told.entries()) {
    assert.ok(['dumping', 'writing'].includes(phase), phase);
    assert.ok(bytes >= 0 && total > 0, JSON.stringify(told[index]));
  }
  for (const [index, { bytes, total }] of writing.entries()) {
    assert.ok(bytes <= total);
    assert.ok(index === 0 || bytes >= writing[index - 1].bytes, 'it goes backwards');
    assert.equal(total, writing[0].total);
  }
  assert.ok(writing.at(-1).bytes > writing[0].total / 4, JSON.stringify(writing.at(-1)));
  await rm(path);
  await asBefore(subject, before, directory);
});

test('onProgress that throws is an uncaught exception, and no more than that', async (t) => {
  const directory = temporaryFolder(t, inMemory);
  const subject = await startSubject(t, 22);
  const { path, thrown } = await subject.run(async ({ stillcore, kept, require }, directory) => {
    kept.noise = require('node:crypto').randomBytes(50 << 20);
    const thrown = [];
    process.on('uncaughtException', (error) => thrown.push(error.message));
    const { path } = await stillcore.capture({ directory, method: 'direct', onProgress: () => { throw new Error('not mine'); } });
    return { path, thrown };
  }, directory);
  assert.ok(statSync(path).size > 0);
  assert.ok(thrown.length >= 1 && thrown.every((message) => message === 'not mine'), JSON.stringify(thrown));
});

test('compression, level and compressionThreads', async (t) => {
  const directory = temporaryFolder(t, inMemory);
  const subject = await startSubject(t, 20);
  const sizes = {};
  for (const options of [
    { compression: 'none' }, { compression: 'gzip', level: 1 }, { compression: 'gzip', level: 6, compressionThreads: 1 },
    { compression: 'zstd', level: 1 }, { compression: 'zstd', level: 4, compressionThreads: 2 },
  ]) {
    const { capture, error } = await captureIn(subject, { directory, ...asked, ...options });
    const name = `${options.compression} ${options.level ?? ''}`;
    assert.equal(error, undefined, `${name}: ${JSON.stringify(error)}`);
    assert.match(capture.path, { none: /\d\.tar$/, gzip: /\.tar\.gz$/, zstd: /\.tar\.zst$/ }[options.compression]);
    sizes[name] = capture.bytes;
    const file = openSync(capture.path);
    const head = Buffer.alloc(4);
    readSync(file, head, 0, 4, 0);
    closeSync(file);
    if (options.compression === 'gzip') assert.equal(head.readUInt16BE(0), 0x1f8b);
    if (options.compression === 'zstd') assert.equal(head.readUInt32LE(0), 0xfd2fb528);
    if (options.compression === 'none') assert.match(head.toString('latin1'), /^core/);
    if (options.compression === 'zstd' && !works('zstd')) continue;
    const listing = options.compression === 'zstd'
      ? await execute('sh', ['-c', 'zstd -dcq "$0" | tar -tf -', capture.path])
      : await execute('tar', ['-tf', capture.path]);
    assert.match(listing.stdout, /\/core\n[^]*manifest\.json|manifest\.json[^]*\/core\n/);
  }
  assert.ok(sizes['gzip 1'] < sizes['none '] / 2 && sizes['gzip 6'] < sizes['gzip 1'], JSON.stringify(sizes));
  assert.ok(sizes['zstd 4'] < sizes['zstd 1'], JSON.stringify(sizes));
});

test('maxSize: large buffers go first; V8\'s heap and the stacks stay as long as that will do', async (t) => {
  const directory = temporaryFolder(t, inMemory);
  const subject = await startSubject(t, 22);
  await subject.run(({ kept }) => void (kept.buffers = Array.from({ length: 20 }, (_, i) => Buffer.alloc(10 << 20, i + 1))));
  const whole = await mustCapture(subject, directory, { method: 'direct' }, asked);
  const wanted = whole.bytes - 150 * MB;
  const heap = mappings(subject.pid).filter(({ marked }) => marked).map(({ start, end }) => [start.toString(16), end.toString(16)]);
  const { capture, error } = await captureIn(subject, { directory, ...asked, what: 'core', maxSize: wanted });
  assert.equal(error, undefined, JSON.stringify(error));
  // No more goes than needed, though the kernel joins neighbouring Buffers to one mapping.
  assert.ok(capture.bytes <= wanted && capture.bytes > wanted - 3 * MB, `${capture.bytes} of ${wanted}`);
  const elf = readElf(capture.path);
  const gone = capture.skipped.filter(({ reason }) => reason === 'maxSize');
  assert.ok(gone.length >= 1, JSON.stringify(capture.skipped));
  for (const { start, end } of gone) {
    const [from, to] = [BigInt(start), BigInt(end)];
    assert.ok(to - from >= BigInt(MB), `${start}-${end} is no large buffer`);
    assert.ok(!heap.some(([a, b]) => BigInt(`0x${a}`) < to && from < BigInt(`0x${b}`)), `${start}-${end} is V8's`);
    assert.equal(missingRanges(elf, [[start.slice(2), end.slice(2)]]).length, 1, 'listed, and yet there');
  }
  for (const { pointer } of threadsOf(elf)) assert.deepEqual(missingRanges(elf, [[pointer.toString(16), (pointer + 64n).toString(16)]]), []);
  assert.ok(hasText(capture.path, subject.markers[0]));
  await rm(dirname(capture.path), { recursive: true });

  // Buffers that the kernel made one mapping of, with something of use between them: that stays.
  const lost = gone.reduce((sum, { start, end }) => sum + Number(BigInt(end) - BigInt(start)), 0);
  const buffers = await subject.run(({ kept, require }) => {
    const { readFileSync } = require('node:fs');
    kept.between = [];
    for (let i = 0; i < 40; i += 1) {
      kept.buffers.push(Buffer.alloc(4 << 20, 0x51));
      kept.between.push(Buffer.alloc(200 << 10, `kept-between-${i} `));
    }
    return readFileSync('/proc/self/maps', 'latin1');
  });
  t.diagnostic(`${lost} bytes lost; largest mapping then ${Math.max(...buffers.split('\n').map((line) => /^(\w+)-(\w+)/.exec(line)).filter(Boolean).map(([, a, b]) => Number(BigInt(`0x${b}`) - BigInt(`0x${a}`))))}`);
  const second = await captureIn(subject, { directory, ...asked, what: 'core', maxSize: wanted });
  assert.equal(second.error, undefined, JSON.stringify(second.error));
  for (let i = 0; i < 40; i += 1) assert.ok(hasText(second.capture.path, `kept-between-${i} kept-between-${i} `), `kept-between-${i}`);
  await rm(dirname(second.capture.path), { recursive: true });

  // As small as can be: headers, notes, stacks.
  const least = await captureIn(subject, { directory, ...asked, what: 'archive', maxSize: 1 });
  assert.equal(least.error, undefined, JSON.stringify(least.error));
  const manifest = await manifestOf(least.capture.path);
  assert.deepEqual(manifest.skipped, least.capture.skipped);
  assert.ok(manifest.skipped.filter(({ reason }) => reason === 'maxSize').length > 50);
  assert.ok(manifest.notes.some((note) => /^maxSize: \d+ bytes of memory in \d+ ranges/.test(note)), JSON.stringify(manifest.notes));
  const { stdout } = await execute('tar', ['-tvf', least.capture.path]);
  const size = Number(/(\d+) \S+ \S+ \S+\/core$/m.exec(stdout)[1]);
  assert.ok(size < whole.bytes / 2, `${size} of ${whole.bytes}`);
});

test('include.dontDump: what is marked MADV_DONTDUMP is left out, and listed, unless it is wanted', async (t) => {
  const directory = temporaryFolder(t, inMemory);
  const subject = await startSubject(t, 24);
  await meddle(subject, 'dontdump:1');
  const secret = ['NOT', 'FOR', 'ANY', 'DUMP'].join('_');
  for (const [include, there] of [[undefined, false], [{ dontDump: false }, false], [{ dontDump: true }, true]]) {
    const { capture, error } = await captureIn(subject, { directory, ...asked, what: 'core', include });
    assert.equal(error, undefined, JSON.stringify(error));
    assert.equal(hasText(capture.path, secret), there, JSON.stringify(include));
    assert.equal(capture.skipped.some(({ reason }) => reason === 'MADV_DONTDUMP'), !there);
    await rm(dirname(capture.path), { recursive: true });
  }
});

test('include.files: pages that are the same in a file', async (t) => {
  const directory = temporaryFolder(t, inMemory);
  const subject = await startSubject(t, 22);
  const bytesOfNode = async (include) => {
    const { capture, error } = await captureIn(subject, { directory, ...asked, what: 'core', include });
    assert.equal(error, undefined, JSON.stringify(error));
    const elf = readElf(capture.path);
    const lines = readFileSync(`/proc/${subject.pid}/maps`, 'latin1').split('\n').filter((line) => /r-xp.*\/node$/.test(line));
    const [start, end] = lines[0].split(' ')[0].split('-').map((address) => BigInt(`0x${address}`));
    const held = elf.loads.filter((load) => start < load.end && load.start < end).reduce((sum, { fileSize }) => sum + fileSize, 0);
    await rm(dirname(capture.path), { recursive: true });
    return held;
  };
  const without = await bytesOfNode();
  const withFiles = await bytesOfNode({ files: true });
  assert.ok(without < MB, `${without} bytes of node's code`);
  assert.ok(withFiles > 5 * MB, `${withFiles} bytes of node's code`);
});

test('wrong arguments', async (t) => {
  const subject = await startSubject(t, 20);
  const before = stateOf(subject);
  const cases = [
    [{ method: 'best' }, 'VALUE', "options.method"], [{ method: 7 }, 'TYPE', 'options.method'],
    [{ threads: 'none' }, 'VALUE', 'options.threads'], [{ what: 'dump' }, 'VALUE', 'options.what'],
    [{ compression: 'xz' }, 'VALUE', 'options.compression'], [{ compression: true }, 'TYPE', 'options.compression'],
    [{ level: 0 }, 'VALUE', 'options.level'], [{ level: 10 }, 'VALUE', 'options.level'], [{ level: '3' }, 'TYPE', 'options.level'],
    [{ compression: 'zstd', level: 23 }, 'VALUE', 'options.level'], [{ compression: 'none', level: 1 }, 'VALUE', 'options.level'],
    [{ compressionThreads: 0 }, 'VALUE', 'options.compressionThreads'], [{ compressionThreads: 1.5 }, 'VALUE', 'options.compressionThreads'],
    [{ maxSize: 0 }, 'VALUE', 'options.maxSize'], [{ maxSize: NaN }, 'VALUE', 'options.maxSize'], [{ maxSize: '1g' }, 'TYPE', 'options.maxSize'],
    [{ method: 'kernel', maxSize: 1 }, 'VALUE', 'options.maxSize'], [{ method: 'kernel', include: { dontDump: true } }, 'VALUE', 'options.include.dontDump'],
    [{ include: true }, 'TYPE', 'options.include'], [{ include: { files: 1 } }, 'TYPE', 'options.include.files'], [{ include: { dontDump: 'yes' } }, 'TYPE', 'options.include.dontDump'],
    [{ onProgress: true }, 'TYPE', 'options.onProgress'], [[], 'TYPE', 'options'], [null, 'TYPE', 'options'],
  ];
  const results = await subject.run(async ({ stillcore, describe }, list) => {
    const answers = [];
    for (const options of list) {
      if (options && options.maxSize === null) options.maxSize = NaN; // JSON has none
      answers.push(await stillcore.capture(options).then(() => 'taken', describe));
    }
    return answers;
  }, cases.map(([options]) => options));
  for (const [index, [options, kind, name]] of cases.entries()) {
    const shown = `${JSON.stringify(options)}: ${JSON.stringify(results[index])}`;
    assert.equal(results[index].code, `ERR_INVALID_ARG_${kind}`, shown);
    assert.equal(results[index].name, 'TypeError');
    assert.ok(results[index].message.includes(`"${name}"`), shown);
  }
  await asBefore(subject, before);
});
