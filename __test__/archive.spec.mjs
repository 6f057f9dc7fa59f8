// collectCore: the archive holds the core and every ELF file that was mapped, says what it holds, and everybody's tar
// opens it.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { createReadStream, lstatSync, mkdirSync, readdirSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import test from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { createInflateRaw } from 'node:zlib';
import * as nodeTar from 'tar';
import { entries } from '../example/tar.mjs';
import { manifest as packageJson, root, works } from '../scripts/workspace.mjs';
import { binary, noBinary } from './support/autopsy.mjs';
import { buildIdOf } from './support/core-file.mjs';
import { temporaryFolder } from './support/files.mjs';
import { captureHeap, checkHeap } from './support/heap.mjs';
import { buildMapper } from './support/mapper.mjs';
import { nodes } from './support/nodes.mjs';
import { runNode } from './support/run.mjs';

// What is tested here is the kernel's way.
process.env.STILLCORE_METHOD = 'kernel';

const execute = promisify(execFile);
const mapper = buildMapper();
const all = await nodes();
const first = all.find((node) => !node.skip);
const NOBODY = 65534;

async function sha256Of(path) {
  const hash = createHash('sha256');
  for await (const piece of createReadStream(path, { highWaterMark: 1 << 20 })) hash.update(piece);
  return hash.digest('hex');
}

/** All entries with their checksums; `check` gets the core's bytes as they stream by. */
async function readArchive(path, check) {
  const found = [];
  for await (const { name, size, type, mode, body } of entries(createReadStream(path))) {
    const small = [];
    const hash = createHash('sha256');
    const bytes = (async function* () {
      for await (const piece of body) {
        hash.update(piece);
        if (size < 1 << 16) small.push(Buffer.from(piece));
        yield piece;
      }
    })();
    if (/^[^/]+\/core$/.test(name)) await check?.(bytes);
    for await (const _ of bytes);
    found.push({ name, size, type, mode, sha256: hash.digest('hex'), text: () => Buffer.concat(small).toString() });
  }
  return found;
}

/** { path: sha256 } of the files below a folder, and the paths of its folders with a slash at the end. */
async function readTree(folder) {
  const files = {};
  const folders = [];
  for (const entry of readdirSync(folder, { withFileTypes: true, recursive: true })) {
    const path = join(entry.parentPath ?? entry.path, entry.name);
    const name = path.slice(folder.length + 1);
    if (entry.isDirectory()) folders.push(`${name}/`);
    else files[name] = entry.isFile() ? await sha256Of(path) : 'not a plain file';
  }
  return { files, folders: folders.sort() };
}

for (const node of all) {
  test(`an archive of ${node.label}`, { skip: node.skip }, async (t) => {
    const directory = temporaryFolder(t);
    const folder = temporaryFolder(t);
    const told = await captureHeap(node, 'archive', directory, { more: [folder, mapper] });
    const top = basename(told.path, '.tar.gz');
    let archive; // what readArchive gives
    let manifest;

    await t.test('lies alone where and under the name it should, for its owner only', () => {
      assert.match(basename(told.path), new RegExp(`^core_\\d{8}\\.\\d{6}\\.${told.pid}\\.001\\.tar\\.gz$`));
      assert.equal(dirname(told.path), directory);
      assert.deepEqual(readdirSync(directory), [basename(told.path)]);
      assert.equal(lstatSync(told.path).mode, 0o100600);
    });

    await t.test('has a core with all that was in memory in the instant of the call', async () => {
      let checked = false;
      archive = await readArchive(told.path, async (bytes) => {
        await checkHeap(told, bytes);
        checked = true;
      });
      assert.ok(checked);
      manifest = JSON.parse(archive.find(({ name }) => name === `${top}/manifest.json`).text());
    });

    await t.test('keeps to plain files and folders below one top folder', () => {
      const names = archive.map(({ name }) => name);
      assert.equal(names[0], `${top}/`);
      assert.deepEqual(names.filter((name) => !name.startsWith(`${top}/`)), []);
      assert.deepEqual(names.filter((name) => /(^|\/)\.\.?(\/|$)|\/\/|^\//.test(name)), []);
      assert.equal(new Set(names).size, names.length, 'every name once');
      assert.deepEqual(archive.filter(({ type, name }) => type !== (name.endsWith('/') ? '5' : '0')), []);
      const inTop = names.map((name) => name.slice(top.length + 1)).filter((name) => /^[^/]+\/?$/.test(name));
      assert.deepEqual(inTop.filter((name) => name.startsWith('core')), ['core']);
      assert.deepEqual(inTop.filter((name) => !name.endsWith('/')).sort(), ['core', 'manifest.json', 'run-autopsy.sh', 'run-gdb.sh', 'run-lldb.sh', 'stillcore.index']);
      assert.equal(inTop.at(-1), 'stillcore.index', 'behind all the others');
      // Every folder comes before what lies in it.
      const made = new Set(['./']);
      for (const name of names) {
        assert.ok(made.has(`${dirname(name)}/`), `${name} comes before its folder`);
        made.add(name);
      }
    });

    await t.test('has every mapped ELF file once, whatever became of its name, and no other file', async () => {
      const { data, short, deleted, replaced, linked, odd, literal, readsDeleted } = told.files;
      const mapped = told.mapped.map((name) => name.replaceAll('\\012', '\n'));
      // Those that are no plain ELF files with that name (any more).
      const special = [data, short, `${deleted} (deleted)`, `${replaced} (deleted)`, '/memfd:in memory (deleted)', '/dev/zero (deleted)', '/SYSV00000000 (deleted)'];
      for (const name of [...special, linked, odd, literal, replaced, node.path]) assert.ok(mapped.includes(name), `${name} was not mapped`);

      const expected = [];
      for (const path of mapped.filter((name) => !special.includes(name))) expected.push([path.slice(1), await sha256Of(path)]);
      if (readsDeleted) for (const path of [deleted, replaced]) expected.push([path.slice(1), await sha256Of(mapper)]);
      const got = archive
        .filter(({ type, name }) => type === '0' && !/^[^/]+\/(core|manifest\.json|run-\w+\.sh|stillcore\.index)$/.test(name))
        // Of two files with one name the second lies elsewhere.
        .map(({ name, sha256 }) => [name.slice(top.length + 1).replace(/^rootfs-1\//, ''), sha256]);
      assert.deepEqual(got.sort(), expected.sort());
      const elsewhere = archive.filter(({ name }) => name.startsWith(`${top}/rootfs-1/`) && name.endsWith('.node'));
      assert.equal(elsewhere.length, readsDeleted ? 1 : 0);
    });

    await t.test('says in its manifest what it is', () => {
      const { core, files, scripts, time, threads, notes, ...head } = manifest;
      assert.equal(threads.how, 'stopped');
      assert.ok(threads.captured > 1 && threads.captured <= threads.total);
      assert.deepEqual(head, {
        schemaVersion: 1,
        tool: { name: 'stillcore', version: packageJson.version },
        pid: told.pid,
        node: node.version,
        v8: told.v8,
        arch: process.arch,
        platform: 'linux',
        method: 'kernel',
        command: told.command,
        skipped: [],
      });
      // On a machine with much to do.
      assert.deepEqual(notes.filter((note) => !/threads did not stop in time/.test(note)), []);
      // The local time in the name, and the same instant.
      assert.equal(time.slice(0, 19).replace(/[-:]/g, '').replace('T', '.'), /^core_(\d+\.\d+)\./.exec(top)[1]);
      const ago = Date.now() - Date.parse(time);
      assert.ok(ago > 0 && ago < 60_000, `it was taken ${ago} ms ago`);
    });

    await t.test('says in its manifest what it holds, and why it lacks what it lacks', async () => {
      const entry = (path) => archive.find(({ name }) => name === `${top}/${path}`);
      const { core, files, scripts } = manifest;
      const { size, sha256 } = entry('core');
      assert.deepEqual(core, { path: 'core', size, sha256, dataSize: core.dataSize });
      assert.ok(core.dataSize > 10e6 && core.dataSize < size);

      const included = files.filter((file) => file.included);
      for (const file of included) {
        const { size, sha256 } = entry(file.archivePath);
        const buildId = file.path.startsWith(folder) ? buildIdOf(mapper) : buildIdOf(file.path);
        assert.deepEqual(file, { path: file.path, archivePath: file.archivePath, size, sha256, buildId, included: true });
        if (node !== first || file.path.startsWith(folder) || !works('readelf')) continue;
        const { stdout } = await execute('readelf', ['--notes', file.path]);
        assert.equal(buildId, /Build ID: (\w+)/.exec(stdout)?.[1] ?? null, file.path);
      }
      assert.equal(included.length, archive.filter(({ type }) => type === '0').length - 6);
      const script = (path) => ({ path, size: entry(path).size, sha256: entry(path).sha256 });
      assert.deepEqual(scripts, [script('run-gdb.sh'), script('run-lldb.sh'), script('run-autopsy.sh')]);

      const lacking = files.filter(({ included, reason }) => !included && !/^\(deleted\)/.test(reason));
      const none = { size: null, sha256: null, buildId: null, included: false };
      assert.deepEqual(lacking.sort((a, b) => (a.path < b.path ? -1 : 1)), [
        { path: '/SYSV00000000', ...none, reason: 'System V shared memory, not a file on disk' },
        { path: '/dev/zero', ...none, reason: 'below /dev, where nothing is opened' },
        { path: '/memfd:in memory', ...none, reason: 'a file in memory (memfd), not a file on disk' },
        { path: told.files.data, ...none, reason: 'not an ELF file' },
        { path: told.files.short, ...none, reason: 'not an ELF file' },
      ]);
    });

    await t.test('is one gzip member', async () => {
      const handle = await open(told.path);
      t.after(() => handle.close());
      const header = Buffer.alloc(10);
      await handle.read(header, 0, 10, 0);
      assert.deepEqual([...header.subarray(0, 4)], [0x1f, 0x8b, 8, 0], 'gzip, deflate, no further fields');
      const inflate = createInflateRaw({ chunkSize: 1 << 20 });
      let size = 0;
      inflate.on('data', (piece) => (size += piece.length));
      await pipeline(createReadStream(told.path, { start: 10 }), inflate);
      // What is left behind the end of the deflate stream: checksum and length.
      const { size: whole } = await handle.stat();
      assert.equal(whole - 10 - inflate.bytesWritten, 8);
      const trailer = Buffer.alloc(8);
      await handle.read(trailer, 0, 8, whole - 8);
      assert.equal(trailer.readUInt32LE(4), size % 2 ** 32);
    });

    const skip = works('tar') && works('gdb') ? false : 'tar or gdb is not installed here';
    await t.test('opens in gdb with its own files, wherever it lies', { skip }, (t) => opensInGdb(t, told));

    const lacks = works('tar') ? noBinary : 'there is no tar';
    if (node === first) {
      await t.test('opens in stillcore with its own files, wherever it lies', { skip: lacks }, (t) => opensInAutopsy(t, told, binary, node.version));
    }

    if (node === first) await t.test('opens elsewhere', (t) => opensElsewhere(t, told.path, archive));
  });
}

test('a deleted file that may not be read is listed as missing', { skip: first?.skip }, async (t) => {
  if (process.getuid() === 0 && (await runNode(first, { source: '' }, { uid: NOBODY })).code !== 0) {
    return t.skip('another user cannot run Node from here');
  }
  const [directory, folder] = [temporaryFolder(t, { mode: 0o777 }), temporaryFolder(t, { mode: 0o777 })];
  const source = `
    const { collectCore } = require(process.argv[1]);
    const { load, readsDeleted } = require(process.argv[2]);
    const { copyFileSync, unlinkSync } = require('node:fs');
    const path = process.argv[3] + '/gone.node';
    copyFileSync(process.argv[4], path);
    load(path);
    unlinkSync(path);
    collectCore().then((archive) => console.log(JSON.stringify({ archive, readsDeleted: readsDeleted() })));
  `;
  const program = fileURLToPath(new URL('./programs/mapped.cjs', import.meta.url));
  const options = { args: [root, program, folder, mapper], cwd: directory, ...(process.getuid() === 0 && { uid: NOBODY }) };
  const { stdout, stderr } = await runNode(first, { source }, options);
  assert.equal(stderr, '');
  const { archive, readsDeleted } = JSON.parse(stdout);
  if (readsDeleted) return t.skip('deleted files may be read here');

  const read = await readArchive(archive);
  const manifest = JSON.parse(read.find(({ name }) => name.endsWith('/manifest.json')).text());
  const gone = manifest.files.filter(({ path }) => path === join(folder, 'gone.node'));
  assert.match(gone[0].reason, /^\(deleted\).*not permitted/);
  assert.deepEqual(gone, [{ path: join(folder, 'gone.node'), size: null, sha256: null, buildId: null, included: false, reason: gone[0].reason }]);
  assert.ok(!read.some(({ name }) => name.endsWith('gone.node')));
  assert.ok(manifest.files.some(({ path, included }) => included && path === first.path));
});

/** The script beside the core shows the JavaScript, and takes the node binary of the archive. */
async function opensInAutopsy(t, { path }, command, version) {
  const into = join(temporaryFolder(t), 'with space, "quotes" and \'one\'');
  mkdirSync(into);
  await execute('tar', ['-xzf', path, '-C', into]);
  const script = join(into, basename(path, '.tar.gz'), 'run-autopsy.sh');
  const { stdout, stderr } = await execute('sh', [script, '-e', 'nodeinfo', '-e', 'jsstack'], { cwd: '/', env: { ...process.env, STILLCORE: command }, timeout: 60_000 });
  assert.ok(stdout.includes(`v${version}`), stdout);
  assert.match(stdout, /^thread \d+/m);
  assert.equal(stderr, '', 'no file is another');
}

/** The script beside the core shows symbols from the archive's files, and takes no file from this machine. */
async function opensInGdb(t, { path }) {
  const top = basename(path, '.tar.gz');
  // Both at once: gdb takes seconds to read node's symbols, in one thread.
  await Promise.all(['plain', 'with space, "quotes" and: colon'].map(async (folder) => {
    const into = join(temporaryFolder(t), folder);
    mkdirSync(into);
    await execute('tar', ['-xzf', path, '-C', into]);
    const args = ['-batch', '-ex', 'bt', '-ex', 'info sharedlibrary', '-ex', 'pwd'];
    // From the root gdb would find the libraries of this machine.
    const { stdout } = await execute('sh', [join(into, top, 'run-gdb.sh'), ...args], { cwd: '/', maxBuffer: 1 << 26, timeout: 60_000 });
    assert.match(stdout, /^#\d+ .* in v8impl::/m, stdout.slice(0, 5000));
    const libraries = stdout.split('\n').map((line) => /^0x\w+ +0x\w+ +Yes(?: \(\*\))? +(.*)$/.exec(line)?.[1]).filter(Boolean);
    assert.ok(libraries.length > 3, stdout);
    assert.deepEqual(libraries.filter((library) => !library.startsWith(`${into}/`) && !library.startsWith('./')), []);
    assert.match(stdout, /add symbol table from file ".*libstdc\+\+/);
    if (folder === 'plain') assert.match(stdout, /^Working directory \/\.$/m, 'it ends where it began');
  }));
}

/** What tars of other people make of an archive is what this test's own reader found in it. */
async function opensElsewhere(t, path, archive) {
  const files = Object.fromEntries(archive.filter(({ type }) => type === '0').map(({ name, sha256 }) => [name, sha256]));
  const folders = archive.filter(({ type }) => type === '5').map(({ name }) => name).sort();
  const utf8 = { env: { ...process.env, LC_ALL: 'C.UTF-8' } };

  const extractors = {
    'GNU tar': works('tar') && ((into) => execute('tar', ['-xzf', path, '-C', into], utf8)),
    bsdtar: works('bsdtar') && ((into) => execute('bsdtar', ['-xf', path, '-C', into], utf8)),
    'node-tar': (into) => nodeTar.extract({ file: path, cwd: into, strict: true }),
  };
  for (const [name, extract] of Object.entries(extractors)) {
    await t.test(`in ${name}`, { skip: extract ? false : `${name} is not installed here` }, async (t) => {
      const into = temporaryFolder(t);
      const said = await extract(into);
      assert.equal(said?.stderr ?? '', '');
      assert.deepEqual(await readTree(into), { files, folders });
    });
  }

  const python = `
import hashlib, json, sys, tarfile
files, folders = {}, []
with tarfile.open(sys.argv[1], sys.argv[2]) as archive:
    for entry in archive:
        if entry.isdir():
            folders.append(entry.name + '/')
        elif entry.isreg():
            digest = hashlib.sha256()
            with archive.extractfile(entry) as body:
                while piece := body.read(1 << 20):
                    digest.update(piece)
            files[entry.name] = digest.hexdigest()
        else:
            files[entry.name] = 'not a plain file'
print(json.dumps({'files': files, 'folders': sorted(folders)}))
`;
  for (const mode of ['r:gz', 'r|gz']) {
    await t.test(`in Python's tarfile, mode ${mode}`, { skip: works('python3') ? false : 'python3 is not installed here' }, async () => {
      const { stdout } = await execute('python3', ['-c', python, path, mode], utf8);
      assert.deepEqual(JSON.parse(stdout), { files, folders });
    });
  }
}
