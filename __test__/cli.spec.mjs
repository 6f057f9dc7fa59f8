// The command stillcore on cores of Node that were taken in our own ways, in every form that a core comes in; gdb is the
// referee. Cores of other programs: crates/cli/tests.
import assert from 'node:assert/strict';
import { execFile, spawn, spawnSync } from 'node:child_process';
import { createReadStream, createWriteStream, existsSync, mkdirSync, readFileSync, readdirSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import test, { after } from 'node:test';
import { promisify } from 'node:util';
import { createGzip, constants, gunzipSync, gzipSync } from 'node:zlib';
import { root, targetDirectory } from '../scripts/workspace.mjs';
import { temporaryFolder } from './support/files.mjs';
import { nodes } from './support/nodes.mjs';
import { startNode } from './support/run.mjs';

const execute = promisify(execFile);
const folder = temporaryFolder({ after });
const command = process.env.STILLCORE_COMMAND ?? join(targetDirectory(), 'release', 'stillcore');
const cacheHome = join(folder, 'cache-home');
const missing = existsSync(command) ? false : `${command} was not built`;

/** Runs the command: { code, stdout, stderr }. `input`: a file or a stream for its standard input. */
async function stillcore(args, { input, env = {}, cwd = folder } = {}) {
  const child = spawn(command, args, {
    cwd,
    env: { PATH: process.env.PATH, HOME: folder, XDG_CACHE_HOME: cacheHome, ...env },
    stdio: [input ? 'pipe' : 'ignore', 'pipe', 'pipe'],
  });
  let [stdout, stderr] = ['', ''];
  child.stdout.setEncoding('utf8').on('data', (text) => (stdout += text));
  child.stderr.setEncoding('utf8').on('data', (text) => (stderr += text));
  const ended = new Promise((resolve, reject) => child.on('error', reject).on('close', (code, signal) => resolve(code ?? signal)));
  if (input) {
    child.stdin.on('error', () => {});
    await pipeline(input, child.stdin).catch(() => {});
  }
  return { code: await ended, stdout, stderr };
}

/** The value of a command with --json that must succeed. */
async function json(args, options) {
  const { code, stdout, stderr } = await stillcore([...args, '--json'], options);
  assert.equal(code, 0, `${args.join(' ')}: ${stderr}`);
  assert.equal(stderr, '');
  return JSON.parse(stdout);
}

const source = `
  const stillcore = require(${JSON.stringify(root)});
  const { createWriteStream } = require('node:fs');
  const { pipeline } = require('node:stream/promises');
  const { Worker } = require('node:worker_threads');
  const [, directory, what] = process.argv;
  const make = {
    kernel: () => stillcore.capture({ directory, what: 'core', method: 'kernel' }),
    direct: () => stillcore.capture({ directory, what: 'core', method: 'direct' }),
    least: () => stillcore.capture({ directory, what: 'core', method: 'direct', maxSize: 1 }),
    gzip: () => stillcore.capture({ directory, method: 'direct' }),
    zstd: () => stillcore.capture({ directory, method: 'direct', compression: 'zstd' }),
    none: () => stillcore.capture({ directory, method: 'direct', compression: 'none' }),
    stream: async () => {
      const path = directory + '/streamed';
      await pipeline(stillcore.streamCore({ method: 'direct' }), createWriteStream(path));
      return { path };
    },
  };
  const worker = new Worker('setInterval(() => {}, 1000)', { eval: true });
  worker.once('online', async () => {
    try {
      const threads = require('node:fs').readdirSync('/proc/self/task').map(Number);
      const { path } = await make[what]();
      console.log(JSON.stringify({ path, pid: process.pid, threads, versions: process.versions }));
    } catch ({ code, message }) {
      console.log(JSON.stringify({ code, message }));
    }
    process.exit();
  });
`;

const taken = new Map();

/** A core or archive of a Node: { path, pid, threads, versions }, or { code, message }; each is taken once. */
function take(node, what) {
  const key = `${node.major} ${what}`;
  if (!taken.has(key)) {
    const directory = join(folder, key);
    mkdirSync(directory);
    taken.set(key, (async () => {
      const started = await startNode(node, { source }, { args: [directory, what] });
      started.child.stdin.end();
      const { stdout, stderr } = await started.done;
      assert.match(stdout, /^{/, stderr);
      return JSON.parse(stdout);
    })());
  }
  return taken.get(key);
}

const WAYS = ['kernel', 'direct', 'gzip', 'zstd', 'none', 'stream'];

for (const node of await nodes()) {
  for (const way of WAYS) {
    test(`every command reads what was taken: ${way}, ${node.label}`, { skip: node.skip || missing }, async (t) => {
      const { path, pid, threads, versions, code, message } = await take(node, way);
      if (code === 'ERR_CORE_PATTERN' || code === 'ERR_CORE_LIMIT') return t.skip(message);
      assert.equal(message, undefined);
      const info = await json(['info', path]);
      assert.equal(info.how, 'captured');
      assert.equal(info.capture.method, way === 'kernel' ? 'kernel' : 'direct');
      assert.equal(info.pid, pid);
      assert.equal(info.node, versions.node);
      assert.equal(info.v8, versions.v8);
      assert.equal(info.core.truncated, false);
      const archive = way !== 'kernel' && way !== 'direct';
      assert.equal(info.kind, archive ? 'stillcore' : 'core');
      assert.ok(Date.now() - Date.parse(info.time) < 3_600_000, info.time);
      assert.equal(info.modules.found, info.modules.count, 'all files are found');

      const listed = await json(['threads', path]);
      // Of the pool more may have come meanwhile.
      const all = listed.threads.map(({ tid }) => tid);
      assert.ok(threads.every((tid) => all.includes(tid)), `${all} and ${threads}`);
      assert.equal(listed.threads[0].tid, pid);
      assert.ok(listed.threads.every(({ died, name }) => !died && name), 'all have names, none died');

      const { threads: stacks } = await json(['bt', path]);
      assert.deepEqual(stacks.map(({ tid }) => tid), listed.threads.map(({ tid }) => tid));
      const main = stacks[0].frames.map((frame) => frame.function ?? '');
      assert.ok(main.some((name) => /^node::Start\b|^main$/.test(name)), `the main thread reaches main: ${main.join(', ')}`);

      const { modules } = await json(['modules', path]);
      const executable = modules.find(({ kind }) => kind === 'executable');
      assert.equal(basename(executable.path), 'node');
      assert.ok(modules.every(({ match }) => ['build-id', 'headers', 'kernel'].includes(match)), JSON.stringify(modules));
      if (archive) assert.ok(executable.file.startsWith(`${path}:`), executable.file);

      const memory = await json(['memory', path]);
      assert.ok(memory.total.size > 100e6);
      for (const mapping of memory.mappings) assert.equal(mapping.size, mapping.core + mapping.file + mapping.zero + mapping.missing);
    });
  }
}

const first = (await nodes()).find(({ skip }) => !skip);

test('what maxSize left out of mapped files is missing, and not as it was before the process ran', { skip: missing }, async () => {
  const [{ path: whole }, { path, message }] = await Promise.all([take(first, 'direct'), take(first, 'least')]);
  assert.equal(message, undefined);
  const info = await json(['info', path]);
  assert.equal(info.modules.found, info.modules.count, 'their headers are there, by which files are believed');
  const written = async (core) => (await json(['memory', core])).mappings.filter(({ offset, permissions }) => offset !== null && permissions === 'rw-');
  const sum = (mappings, kind) => mappings.reduce((all, mapping) => all + mapping[kind], 0);
  const [there, gone] = [await written(whole), await written(path)];
  assert.ok(sum(there, 'core') > 0 && sum(there, 'missing') === 0, JSON.stringify(there));
  assert.ok(sum(gone, 'core') === 0 && sum(gone, 'missing') > 0, JSON.stringify(gone));
  assert.ok(sum(gone, 'file') <= sum(there, 'file') + sum(there, 'zero'), 'only what was never written is taken from files');
  assert.ok(info.missing.some(({ what }) => / of writable memory of mapped files$/.test(what)), JSON.stringify(info.missing));
});

test('what gdb says of a core of Node', { skip: missing }, async (t) => {
  if (spawnSync('gdb', ['--version']).error) return t.skip('there is no gdb here');
  const { path, versions } = await take(first, 'direct');
  const { stdout } = await execute('gdb', ['-nx', '-batch', '-iex', 'set debuginfod enabled off', '-ex', 'info threads', '-ex', 'info sharedlibrary', first.path, path], { maxBuffer: 1 << 28 });
  const { threads } = await json(['threads', path]);
  const theirs = new Set([...stdout.matchAll(/LWP (\d+)\)/g)].map(([, tid]) => Number(tid)));
  assert.deepEqual([...theirs].sort(), threads.map(({ tid }) => tid).sort());
  const { modules } = await json(['modules', path]);
  const libraries = [...stdout.matchAll(/^0x\S+ +0x\S+ .* (\/\S+)$/gm)].map(([, name]) => basename(name));
  assert.ok(libraries.length > 3 && versions.node);
  for (const name of libraries) assert.ok(modules.some((module) => basename(module.path) === name || module.linkName?.endsWith(name)), name);
});

test('a core in any form is told by its content, and is the same core', { skip: missing }, async (t) => {
  const { path } = await take(first, 'direct');
  const expected = await json(['threads', '-r', path]);
  const forms = [
    ['gzip', ['gzip', '-1']], ['zstd', ['zstd', '-q']], ['xz', ['xz', '-0', '-T0']], ['lz4', ['lz4', '-q']],
  ];
  for (const [form, [program, ...args]] of forms) {
    if (spawnSync(program, ['--version']).error) {
      t.diagnostic(`without ${program}: it is not installed here`);
      continue;
    }
    // A name that says nothing.
    const file = join(folder, `form-${form}`);
    const packer = spawn(program, args, { stdio: ['pipe', 'pipe', 'inherit'] });
    await Promise.all([pipeline(createReadStream(path), packer.stdin), pipeline(packer.stdout, createWriteStream(file))]);
    assert.deepEqual(await json(['threads', '-r', file]), expected, form);
    const { layers, kind } = await json(['info', file]);
    assert.deepEqual([kind, layers], ['core', [form]]);
    // Again, out of the cache; without the cache; and through a pipe.
    assert.deepEqual(await json(['threads', '-r', file]), expected);
    assert.deepEqual(await json(['threads', '-r', file, '--no-cache']), expected);
    assert.deepEqual(await json(['threads', '-r', '-'], { input: createReadStream(file) }), expected, `${form} from a pipe`);
  }
  assert.deepEqual(await json(['threads', '-r', '-'], { input: createReadStream(path) }), expected, 'a core from a pipe');
  const archive = await take(first, 'gzip');
  const through = await json(['info', '-'], { input: createReadStream(archive.path) });
  assert.deepEqual([through.kind, through.file, through.pid], ['stillcore', 'standard input', archive.pid]);
});

test('the cache is private, is listed, and is cleared', { skip: missing }, async () => {
  const { path } = await take(first, 'direct');
  const file = join(folder, 'cached.gz');
  await pipeline(createReadStream(path), createGzip({ level: constants.Z_BEST_SPEED }), createWriteStream(file));
  const env = { XDG_CACHE_HOME: join(folder, 'another') };
  await json(['info', file, '--no-cache'], { env });
  assert.ok(!existsSync(join(env.XDG_CACHE_HOME, 'stillcore')) || (await json(['cache'], { env })).entries.length === 0);
  await json(['info', file], { env });
  const { folder: where, entries, bytes } = await json(['cache'], { env });
  assert.equal(where, join(env.XDG_CACHE_HOME, 'stillcore'));
  assert.equal(statSync(where).mode & 0o777, 0o700);
  assert.equal(entries.length, 1);
  assert.equal(statSync(entries[0].path).mode & 0o777, 0o600);
  assert.equal(entries[0].size, statSync(path).size);
  assert.ok(entries[0].origin.includes('cached.gz'), entries[0].origin);
  assert.ok(bytes > 1e6);
  const { files } = await json(['cache', 'clear'], { env });
  assert.equal(files, 1);
  assert.deepEqual((await json(['cache'], { env })).entries, []);
});

test('verify finds nothing in a good archive, and a flipped bit in a bad one', { skip: missing }, async () => {
  const { path } = await take(first, 'gzip');
  const good = await json(['verify', path]);
  assert.equal(good.good, true);
  assert.equal(good.kind, 'stillcore');
  assert.ok(good.checksums > 3 && good.buildIds > 3 && good.index, JSON.stringify(good));
  const bytes = readFileSync(path);
  const bad = join(folder, 'bad.tar.gz');
  for (const [what, damaged] of [
    ['cut off', bytes.subarray(0, bytes.length - 1000)],
    ['halved', bytes.subarray(0, bytes.length / 2)],
    ['flipped', Buffer.from(bytes).fill(bytes[bytes.length / 3 | 0] ^ 1, bytes.length / 3 | 0, (bytes.length / 3 | 0) + 1)],
  ]) {
    writeFileSync(bad, damaged);
    const { code, stdout } = await stillcore(['verify', bad]);
    assert.equal(code, 1, `${what}: ${stdout}`);
    assert.match(stdout, /BAD/);
    const { code: again, stdout: text } = await stillcore(['verify', '--json', bad]);
    assert.equal(again, 1);
    assert.equal(JSON.parse(text).good, false);
    assert.ok(JSON.parse(text).problems.length > 0);
  }
});

test('unpack puts an archive where it is told, and nothing anywhere else', { skip: missing }, async () => {
  const { path } = await take(first, 'zstd');
  const into = join(folder, 'unpacked');
  const { tops, files, refused, damaged } = await json(['unpack', path, into]);
  assert.deepEqual([tops.length, refused, damaged], [1, [], null]);
  assert.ok(files > 5);
  assert.equal(statSync(join(tops[0], 'core')).mode & 0o777, 0o600);
  assert.equal((await json(['info', join(tops[0], 'core')])).how, 'captured');
  // Twice into the same folder: nothing is overwritten.
  const { code, stderr } = await stillcore(['unpack', path, into]);
  assert.equal(code, 3, stderr);

  const evil = tar([['../outside', 'x'], ['/absolute', 'x'], ['top/link', 'x', '2', '/etc'], ['top/link/passwd', 'x'], ['top/fine', 'x']]);
  const archive = join(folder, 'evil.tar.gz');
  writeFileSync(archive, gzipSync(evil));
  const place = join(folder, 'evil', 'place');
  const outcome = await stillcore(['unpack', archive, place]);
  assert.equal(outcome.code, 1, outcome.stderr);
  assert.deepEqual(readdirSync(join(folder, 'evil')), ['place']);
  assert.ok(existsSync(join(place, 'top', 'fine')));
  assert.ok(!existsSync('/etc/passwd/x') && !existsSync('/absolute'));
});

/** A tar archive: [name, content, type, link target] each. */
function tar(entries) {
  const blocks = [];
  for (const [name, content, type = '0', target = ''] of entries) {
    const header = Buffer.alloc(512);
    const size = type === '0' ? content.length : 0;
    header.write(name, 0);
    header.write('0000644\0' + '0000000\0'.repeat(2) + size.toString(8).padStart(11, '0') + '\0' + '0'.repeat(11) + '\0', 100);
    header.write(' '.repeat(8) + type + target, 148);
    header.write('ustar\x0000', 257);
    const sum = header.reduce((sum, byte) => sum + byte, 0);
    header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
    blocks.push(header);
    if (size) blocks.push(Buffer.concat([Buffer.from(content)], 512));
  }
  return Buffer.concat([...blocks, Buffer.alloc(1024)]);
}

test('limits that an archive is over can be raised', { skip: missing }, async () => {
  const { path } = await take(first, 'gzip');
  const core = gunzipSync(readFileSync(path)).length;
  const { code, stderr } = await stillcore(['unpack', path, join(folder, 'limited'), '--limit', 'unpacked=1M']);
  assert.equal(code, 3);
  assert.match(stderr, /limit of 1048576.*--limit unpacked=/);
  await json(['unpack', path, join(folder, 'unlimited'), '--limit', `unpacked=${2 * core}`]);
  for (const wrong of ['unpacked', 'unpacked=x', 'size=1']) {
    assert.equal((await stillcore(['info', path, '--limit', wrong])).code, 2, wrong);
  }
});

test('the JSON of every command has the documented shape', { skip: missing }, async () => {
  const { path } = await take(first, 'direct');
  const archive = (await take(first, 'gzip')).path;
  const values = {
    Info: [['info', path], ['info', archive]],
    Modules: [['modules', path], ['modules', archive]],
    Threads: [['threads', path], ['threads', '-r', path]],
    Backtraces: [['bt', path]],
    Memory: [['memory', path]],
    Archive: [['archive', path, '-o', join(folder, 'shape.tar.gz')]],
    Verdict: [['verify', archive]],
    Unpacked: [['unpack', archive, join(folder, 'shape')]],
    Cache: [['cache']],
    Cleared: [['cache', 'clear']],
    Doctor: [['doctor', '--directory', folder], ['doctor', '--directory', folder, '--pid', String(process.pid)]],
  };
  const lines = ['import type * as json from \'./json.d.ts\';'];
  for (const [type, commands] of Object.entries(values)) {
    for (const args of commands) {
      const { stdout, stderr } = await stillcore([...args, '--json']);
      // `satisfies` complains of what is missing, of another type, and of what is not documented.
      lines.push(`export const value${lines.length} = ${stdout.trim() || assert.fail(stderr)} satisfies json.${type};`);
    }
  }
  const place = join(folder, 'types');
  mkdirSync(place);
  symlinkSync(join(root, 'npm', 'cli', 'json.d.ts'), join(place, 'json.d.ts'));
  writeFileSync(join(place, 'values.ts'), lines.join('\n'));
  writeFileSync(join(place, 'tsconfig.json'), JSON.stringify({
    compilerOptions: {
      strict: true, noEmit: true, target: 'es2022', module: 'esnext', moduleResolution: 'bundler', allowImportingTsExtensions: true, types: [],
    },
    files: ['values.ts'],
  }));
  const tsc = join(root, 'node_modules', 'typescript', 'bin', 'tsc');
  const { stdout } = await execute(process.execPath, [tsc, '--project', place]).catch((error) => error);
  assert.equal(stdout, '');
});

test('errors name the file and the reason', { skip: missing }, async () => {
  for (const args of [['info', 'no-such-file'], ['verify', 'no-such-file'], ['unpack', 'no-such-file'], ['archive', 'no-such-file']]) {
    const { code, stdout, stderr } = await stillcore(args);
    assert.deepEqual([code, stdout], [3, ''], args.join(' '));
    assert.match(stderr, /^stillcore: no-such-file: No such file or directory/);
  }
  const { code, stderr } = await stillcore(['info', dirname(folder)]);
  assert.equal(code, 3);
  assert.match(stderr, /folder/);
  const { code: nothing, stderr: said } = await stillcore(['info', '-']);
  assert.equal(nothing, 3);
  assert.match(said, /^stillcore: standard input: /);
});
