// doctor: what it foretells is what createCore then meets, under every condition; and it changes nothing itself.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import test from 'node:test';
import { root } from '../scripts/workspace.mjs';
import { controlGroup, isRoot, meddle, noFilters, noMounts, refusing, withMounts } from './support/conditions.mjs';
import { temporaryFolder } from './support/files.mjs';
import { nodes } from './support/nodes.mjs';
import { runNode } from './support/run.mjs';
import { children, descriptors, mappings, startSubject } from './support/subject.mjs';

// subject.mjs asks for the kernel's way; here either may do.
process.env.STILLCORE_METHOD = 'auto';

const { doctor } = createRequire(import.meta.url)('..');
const MB = 1 << 20;
const needsRoot = isRoot ? false : 'only root may do this';

/** In a process of its own: the report, what was then left in the directory, and how createCore then went. */
const foretell = { source: `
  const { readdirSync, rmSync } = require('node:fs')
  const { dirname } = require('node:path')
  const [, addon, directory, before = ''] = process.argv
  eval(before)
  const { doctor, createCore } = require(addon)
  doctor({ directory }).then(async (report) => {
    let left = []
    try { left = readdirSync(directory) } catch {}
    const made = await createCore({ directory }).then((path) => (rmSync(dirname(path), { recursive: true }), 'made'), (error) => error.code)
    console.log(JSON.stringify({ report, left, made }))
  })
` };

async function foretold(t, { directory, before = '', ...options } = {}) {
  directory ??= temporaryFolder(t, { mode: 0o777 });
  const { stdout, stderr } = await runNode(options.node ?? process.execPath, foretell, { args: [root, directory, before], t, ...options });
  assert.match(stdout, /^{/, stderr);
  const told = JSON.parse(stdout);
  assert.deepEqual(told.left, []);
  assert.equal(told.report.ok, told.made === 'made', `${told.made} after ${JSON.stringify(told.report.ways)}`);
  for (const way of Object.values(told.report.ways)) {
    assert.equal(typeof way.why, way.works ? 'undefined' : 'string');
    assert.equal(typeof way.change, way.works ? 'undefined' : 'string');
  }
  return { directory, ...told };
}

/** All keys of a value, those of objects in it too: its shape. */
function shape(value, path = '') {
  if (value === null || typeof value !== 'object' || Array.isArray(value)) return [path];
  return Object.keys(value).flatMap((key) => shape(value[key], `${path}.${key}`)).sort();
}

for (const node of await nodes()) {
  test(`as it is here, on ${node.label}`, { skip: node.skip }, async (t) => {
    const { report, directory } = await foretold(t, { node });
    assert.equal(report.node, `v${node.version}`);
    assert.equal(report.platform, `linux-${process.arch}`);
    assert.match(`${report.libc.name} ${report.libc.version}`, /^glibc 2\.\d+$/);
    assert.equal(report.corePattern.value, readFileSync('/proc/sys/kernel/core_pattern', 'utf8').trimEnd());
    assert.deepEqual(report.sigsegv, { state: 'handled', by: 'node' });
    assert.ok(report.dontFork.ranges > 10 && report.dontFork.bytes > MB && report.dontFork.resident > MB, JSON.stringify(report.dontFork));
    assert.ok(report.threads >= 5);
    assert.equal(report.dumpable, 1);
    assert.equal(report.directory.path, directory);
    assert.equal(report.directory.writable, true);
    assert.ok(report.directory.freeBytes > 0 && report.directory.fileSystem);
    assert.ok(report.memory.rss > 20 * MB);
    assert.equal(typeof report.container.pidNamespace, 'boolean');
    const { pauseMs, coreBytes, archiveBytes, memoryReserve, freeBytesNeeded } = report.estimates;
    assert.ok(pauseMs > 0 && pauseMs < 50 && memoryReserve > 0);
    assert.ok(coreBytes > 20 * MB && coreBytes < 1000 * MB && freeBytesNeeded === coreBytes + archiveBytes);
  });
}

test('the estimate of the core is what it then takes on disk, within a quarter', async (t) => {
  const directory = temporaryFolder(t);
  const before = 'globalThis.kept = Array.from({ length: 200 }, (_, i) => Buffer.alloc(1 << 20, i + 1))';
  const script = { source: `
    ${before}
    const { doctor, createCore } = require(process.argv[1])
    doctor({ directory: process.argv[2] }).then(async ({ estimates, ways }) => {
      if (!ways.kernel.works) return console.log(JSON.stringify({ skip: ways.kernel.why }))
      const path = await createCore({ directory: process.argv[2] })
      console.log(JSON.stringify({ estimates, disk: require('node:fs').statSync(path).blocks * 512 }))
    })` };
  const { stdout } = await runNode(process.execPath, script, { args: [root, directory], t });
  const { skip, estimates, disk } = JSON.parse(stdout);
  if (skip) return t.skip(skip);
  t.diagnostic(`estimated ${estimates.coreBytes >> 20} MB, on disk ${disk >> 20} MB`);
  assert.ok(Math.abs(estimates.coreBytes - disk) < disk / 4, `${estimates.coreBytes} estimated, ${disk} on disk`);
});

test('hard limit on cores 0: the kernel way does not work, says so, and that it may be policy', async (t) => {
  const { report } = await foretold(t, { prlimit: { core: '0:0' } });
  assert.deepEqual(report.limits.core, { soft: 0, hard: 0 });
  assert.equal(report.ways.kernel.works, false);
  assert.match(report.ways.kernel.why, /hard limit on core files \(RLIMIT_CORE\) is 0/);
  assert.match(report.ways.kernel.change, /LimitCORE=infinity/);
  assert.match(report.warnings.join('\n'), /Perhaps somebody decided that/);
});

test('a hard limit lower than the process, on cores and on files', async (t) => {
  const cores = await foretold(t, { prlimit: { core: `0:${10 * MB}` } });
  assert.deepEqual(cores.report.limits.core, { soft: 0, hard: 10 * MB });
  assert.match(cores.report.ways.kernel.why, /RLIMIT_CORE\) is 10 MB, and a core of this process has at least/);
  const files = await foretold(t, { prlimit: { fsize: `${10 * MB}:${10 * MB}` } });
  assert.deepEqual(files.report.limits.fileSize, { soft: 10 * MB, hard: 10 * MB });
  assert.match(files.report.ways.kernel.why, /RLIMIT_FSIZE\) is 10 MB/);
});

test('a soft limit of 0 does not matter', async (t) => {
  const { report } = await foretold(t, { prlimit: { core: '0:unlimited' } });
  assert.deepEqual(report.limits.core, { soft: 0, hard: null });
  assert.doesNotMatch(report.ways.kernel.why ?? '', /RLIMIT_CORE/);
});

test('another user, and a directory that it may not write', { skip: needsRoot }, async (t) => {
  const user = { uid: 65534 };
  const { stderr, code } = await runNode(process.execPath, { source: 'require(process.argv[1])' }, { args: [root], t, ...user });
  if (code !== 0) return t.skip(`that user cannot read this folder: ${stderr.split('\n').find((line) => /Error/.test(line))}`);
  const able = await foretold(t, user);
  assert.match(able.report.capabilities.effective, /^0+$/);
  assert.deepEqual(
    ['SYS_RESOURCE', 'SYS_PTRACE', 'CHECKPOINT_RESTORE', 'SYS_ADMIN'].map((name) => able.report.capabilities[name]),
    [false, false, false, false],
  );
  const closed = await foretold(t, { ...user, directory: temporaryFolder(t, { mode: 0o755 }) });
  assert.equal(closed.report.directory.writable, false);
  assert.match(closed.report.ways.kernel.why, /Nothing can be written in .*: EACCES: permission denied/);
});

test('a directory that is missing, no directory, read-only, or takes no files from anybody', async (t) => {
  const folder = temporaryFolder(t);
  const missing = await foretold(t, { directory: join(folder, 'missing') });
  assert.match(missing.report.ways.kernel.why, /ENOENT/);
  assert.equal(missing.report.directory.freeBytes, null);
  writeFileSync(join(folder, 'file'), '');
  assert.match((await foretold(t, { directory: join(folder, 'file') })).report.ways.kernel.why, /ENOTDIR/);
  const script = { source: 'require(process.argv[1]).doctor({ directory: "/proc" }).then((report) => console.log(report.directory.writable))' };
  assert.equal((await runNode(process.execPath, script, { args: [root], t })).stdout, 'false\n');
  if (noMounts) return t.diagnostic(`read-only: ${noMounts}`);
  const wrap = withMounts(['-t', 'tmpfs', '-o', 'ro', 'none', folder]);
  const { report } = await foretold(t, { wrap, directory: folder });
  assert.match(report.ways.kernel.why, /EROFS/);
  assert.equal(report.directory.fileSystem, 'tmpfs');
});

test('too little space', { skip: noMounts }, async (t) => {
  const folder = temporaryFolder(t);
  const { report } = await foretold(t, { wrap: withMounts(['-t', 'tmpfs', '-o', 'size=8m', 'none', folder]), directory: folder });
  assert.equal(report.directory.freeBytes, 8 * MB);
  assert.match(report.ways.kernel.why, /8\.0 MB are free in/);
  // How small an archive gets is only known when it is there.
  assert.equal(report.ways.direct.works, true);
  assert.match(report.warnings.join('\n'), /is in memory/);
});

test('core patterns that take every core away', { skip: noMounts }, async (t) => {
  // Shown to one process alone, by a file on top of the real one: the kernel goes by the real one.
  const folder = temporaryFolder(t);
  const shown = join(folder, 'core_pattern');
  for (const [pattern, meaning] of [
    ['|/usr/lib/systemd/systemd-coredump %P', /^gives every core to a program: systemd-coredump/],
    ['/var/crash/%e', /^puts every core at a path of its own$/],
  ]) {
    writeFileSync(shown, `${pattern}\n`);
    const { report } = await foretold(t, { wrap: withMounts(['--bind', shown, '/proc/sys/kernel/core_pattern']) });
    assert.deepEqual([report.corePattern.value, report.corePattern.kernelWay], [pattern, false]);
    assert.match(report.corePattern.meaning, meaning);
    assert.match(report.ways.kernel.change, /sysctl -w kernel\.core_pattern=core/);
  }
});

test('a control group with a limit', async (t) => {
  const group = controlGroup(t, 'memory');
  if (group.skip) return t.skip(group.skip);
  group.set(group.version === 1 ? 'memory.limit_in_bytes' : 'memory.max', 1024 * MB);
  const roomy = await foretold(t, { wrap: group.wrap });
  const { version, limit, free, reserve } = roomy.report.memory.cgroup;
  assert.deepEqual([version, limit, reserve], [group.version, 1024 * MB, 256 * MB]);
  assert.ok(free > 256 * MB && free < 1024 * MB);
  assert.equal(roomy.report.estimates.memoryReserve, 256 * MB);
  assert.match(roomy.report.container.cgroup, /stillcore-test/);
  const tight = await foretold(t, { wrap: group.wrap, env: { STILLCORE_MEMORY_RESERVE: String(1020 * MB) } });
  assert.equal(tight.made, 'ERR_CORE_MEMORY');
  assert.match(tight.report.ways.kernel.why, /control group of this process has .* left of its 1\.0 GB/);
});

test('a listener on SIGSEGV is named', async (t) => {
  const { report } = await foretold(t, { before: "process.on('SIGSEGV', () => {})" });
  assert.deepEqual(report.sigsegv, { state: 'handled', by: "process.on('SIGSEGV')" });
});

test('not dumpable: works, and is named as a possible policy', async (t) => {
  for (const user of isRoot ? [{}, { uid: 65534 }] : [{}]) {
    const subject = await startSubject(t, 22, user).catch((error) => t.diagnostic(error.message));
    if (!subject) continue;
    await meddle(subject, 'dumpable:0');
    const report = await subject.run(({ require }, addon) => require(addon).doctor({ directory: '/tmp' }), root);
    assert.equal(report.dumpable, 0);
    assert.match(report.warnings.join('\n'), /not dumpable \(PR_GET_DUMPABLE 0\)\. Captures work all the same/);
    assert.ok(report.dontFork.ranges > 10);
  }
});

test('a seccomp filter is counted', async (t) => {
  const skip = noFilters();
  if (skip) return t.skip(skip);
  const { report } = await foretold(t, { wrap: refusing('kill:0=0:EPERM') });
  assert.deepEqual(report.seccomp, { mode: 'filter', filters: 1 });
  assert.match(report.warnings.join('\n'), /A seccomp filter is active/);
});

test('namespaces of its own', { skip: noMounts }, async (t) => {
  const { report } = await foretold(t, { wrap: ['unshare', '--mount', '--pid', '--fork', '--mount-proc'] });
  assert.equal(report.container.pidNamespace, true);
});

test('switched off by the environment', async (t) => {
  const { report, made } = await foretold(t, { env: { STILLCORE_DISABLE: '1' } });
  assert.equal(made, 'ERR_CORE_DISABLED');
  for (const way of Object.values(report.ways)) assert.match(way.why, /^Captures are switched off/);
});

test('it changes nothing: no child, no descriptor, no mark of V8, no file', async (t) => {
  const subject = await startSubject(t, 24);
  const directory = temporaryFolder(t);
  const marks = () => mappings(subject.pid).filter((one) => one.marked).length;
  const report = () => subject.run(({ require }, addon, directory) => require(addon).doctor({ directory }), root, directory);
  await report();
  const before = descriptors(subject.pid).length;
  for (let i = 0; i < 20; i += 1) await report();
  assert.deepEqual(children(subject.pid), []);
  assert.equal(descriptors(subject.pid).length, before);
  assert.ok(marks() > 10);
  assert.deepEqual(readdirSync(directory), []);
});

test('while captures run, V8\'s marks are listed all the same', async (t) => {
  const subject = await startSubject(t, 22);
  const directory = temporaryFolder(t);
  const ranges = await subject.run(async ({ require }, addon, directory) => {
    const { createCore, doctor } = require(addon);
    const found = [];
    for (let i = 0; i < 3; i += 1) {
      const core = createCore({ directory }).catch(() => {});
      found.push((await doctor({ directory })).dontFork?.ranges);
      await core;
    }
    return found;
  }, root, directory);
  for (const number of ranges) assert.ok(number > 10, `${ranges}`);
});

test('on another platform it resolves, with the same shape and the reason', async (t) => {
  const script = { source: `
    const { doctor } = require(process.argv[1])
    doctor().then((here) => {
      for (const file of Object.keys(require.cache)) delete require.cache[file]
      Object.defineProperty(process, 'platform', { value: 'darwin' })
      require(process.argv[1]).doctor({ directory: '/x' }).then((there) => console.log(JSON.stringify({ here, there })))
    })` };
  const { stdout } = await runNode(process.execPath, script, { args: [root], t });
  const { here, there } = JSON.parse(stdout);
  assert.equal(there.ok, false);
  assert.equal(there.platform, `darwin-${process.arch}`);
  assert.equal(there.directory.path, '/x');
  for (const way of Object.values(there.ways)) assert.match(way.why, /Linux only/);
  assert.deepEqual(Object.keys(there), Object.keys(here));
  assert.deepEqual(shape(there.container), shape(here.container));
});

test('it rejects for wrong arguments, and only for these', async () => {
  const type = { name: 'TypeError', code: 'ERR_INVALID_ARG_TYPE' };
  await assert.rejects(doctor('/tmp'), type);
  await assert.rejects(doctor(null), type);
  await assert.rejects(doctor({ directory: 7 }), type);
  await assert.rejects(doctor({ directory: '' }), { code: 'ERR_INVALID_ARG_VALUE' });
  await assert.rejects(doctor({ directory: 'a\0b' }), { code: 'ERR_INVALID_ARG_VALUE' });
  assert.equal(typeof (await doctor()).ok, 'boolean');
  assert.equal(typeof (await doctor({ directory: '/tmp/\ud800' })).ok, 'boolean');
});

// --- node -r stillcore/doctor ------------------------------------------------------------------------

const preload = join(root, 'doctor.js');

/** Runs it before an application, or, without one, alone: then runNode, which wants a script, is no help. */
async function printed(t, app, { execArgv = [], ...options } = {}) {
  if (app) return runNode(process.execPath, app, { ...options, execArgv: ['-r', preload], t });
  return new Promise((resolve) => {
    const env = { ...process.env, NODE_TEST_CONTEXT: undefined, NODE_OPTIONS: undefined, ...options.env };
    execFile(process.execPath, [...execArgv, '-r', preload], { env }, (error, stdout, stderr) => {
      resolve({ code: error ? error.code : 0, stdout, stderr });
    });
  });
}

test('without an application the table goes to stdout, and the exit code says whether it works', async (t) => {
  const { ok } = await doctor({ directory: temporaryFolder(t) });
  const { code, stdout, stderr } = await printed(t);
  assert.equal(code, ok ? 0 : 1);
  assert.equal(stderr, '');
  assert.match(stdout, ok ? /^stillcore doctor: createCore works here\n/ : /^stillcore doctor: createCore DOES NOT WORK here\n/);
  for (const fact of ['kernel way', 'direct way', 'core_pattern', 'core size limit', 'directory', 'memory', "V8's fork marks", 'SIGSEGV', 'container', 'pause']) {
    assert.match(stdout, new RegExp(`^(?:ok|no| [!~?]|  )  ${fact} `, 'm'));
  }
  const refused = await printed(t, null, { env: { STILLCORE_DIRECTORY: '/proc' } });
  assert.equal(refused.code, 1);
  assert.match(refused.stdout, /^no {2}any way +Nothing can be written in \/proc/m);
});

test('no line is longer than 100 columns, whatever the paths', async (t) => {
  const long = `/${'long/'.repeat(30)}${'x'.repeat(200)}`;
  for (const env of [{}, { STILLCORE_DIRECTORY: long }, { STILLCORE_DISABLE: '1' }]) {
    const { stdout } = await printed(t, null, { env });
    for (const line of stdout.split('\n')) {
      assert.ok(line.length <= 100, line);
      assert.equal(line, line.trimEnd());
    }
  }
});

test('with an application it goes to stderr, and the application runs as ever', async (t) => {
  const folder = temporaryFolder(t);
  const app = join(folder, 'app.js');
  writeFileSync(app, 'console.log(process.argv.slice(2).join()); process.exitCode = 7');
  const { code, stdout, stderr } = await printed(t, app, { args: ['a', 'b'], env: { STILLCORE_DISABLE: '1' } });
  assert.deepEqual([code, stdout], [7, 'a,b\n']);
  assert.match(stderr, /^stillcore doctor: createCore DOES NOT WORK here\n[^]*^no {2}any way/m);
  const evaluated = await printed(t, { source: 'console.log(1)' });
  assert.deepEqual([evaluated.code, evaluated.stdout], [0, '1\n']);
  const worker = await printed(t, { source: 'new (require("node:worker_threads").Worker)("", { eval: true })' });
  assert.equal(worker.stderr.match(/stillcore doctor/g).length, 1);
});

test('as JSON, and on a platform where nothing works', async (t) => {
  const { stdout } = await printed(t, null, { env: { STILLCORE_DOCTOR: 'json' } });
  assert.deepEqual(Object.keys(JSON.parse(stdout)), Object.keys(await doctor()));
  const fake = join(temporaryFolder(t), 'darwin.js');
  writeFileSync(fake, "Object.defineProperty(process, 'platform', { value: 'darwin' })");
  const { code, stdout: table } = await printed(t, null, { execArgv: ['-r', fake] });
  assert.equal(code, 1);
  assert.match(table, /^no {2}any way +stillcore does not support darwin/m);
});
