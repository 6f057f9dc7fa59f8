// The packages as they would be published, installed as a user does it who has neither Rust nor a network.
import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import test, { after, before } from 'node:test';
import { promisify } from 'node:util';
import { list } from 'tar';
import { buildRelease, NoToolchain } from '../scripts/build-release.mjs';
import { pack } from '../scripts/pack.mjs';
import { buildCommand, commands, hostPlatform, manifest, output, platforms, root } from '../scripts/workspace.mjs';
import { temporaryFolder } from './support/files.mjs';
import { nodes } from './support/nodes.mjs';
import { runNode } from './support/run.mjs';

const execute = promisify(execFile);
const host = hostPlatform();
const command = commands.find((one) => one.target === host.target);
const folder = temporaryFolder({ after });
const project = join(folder, 'project');
const cli = join(folder, 'cli');
let packed;
let released; // the addon: what the release build says of this platform, or undefined where its tools cannot be had
let unreleased;

before(async () => {
  let releasedCommand;
  try {
    const built = buildRelease({ quiet: true, own: true });
    released = built.find((one) => one.package === host.package);
    releasedCommand = built.find((one) => one.package === command.package);
  } catch (error) {
    if (!(error instanceof NoToolchain)) throw error;
    unreleased = `the ordinary build was packed instead: ${error.message}`;
  }
  packed = pack(join(folder, 'tarballs'), {
    [host.package]: released?.path ?? join(root, host.binary),
    [command.package]: releasedCommand?.path ?? buildCommand(),
  });
  await install(project, [packed.main, ...packed.platforms]);
  await install(cli, [packed.command, ...packed.commands]);
});

/** An empty project, and the tarballs installed into it with no network, no scripts, no cache, no cargo. */
async function install(into, tarballs, ...options) {
  mkdirSync(into, { recursive: true });
  writeFileSync(join(into, 'package.json'), '{ "private": true }\n');
  const bin = join(folder, 'bin');
  if (!existsSync(bin)) {
    mkdirSync(bin);
    symlinkSync(process.execPath, join(bin, 'node'));
    symlinkSync('/bin/sh', join(bin, 'sh'));
  }
  const npm = process.env.npm_execpath ?? output('sh', ['-c', 'readlink -f "$(command -v npm)"']).trim();
  await execute(process.execPath, [npm, 'install', '--offline', '--ignore-scripts', '--no-audit', '--no-fund', ...options, ...tarballs], {
    cwd: into,
    env: { PATH: bin, HOME: folder, npm_config_cache: join(folder, 'npm-cache') },
  });
}

function filesIn(tarball) {
  const names = [];
  list({ file: tarball, sync: true, onReadEntry: (entry) => names.push(entry.path.replace('package/', '')) });
  return names.sort();
}

test('the published addon loads wherever Node does: glibc 2.28 is enough', (t) => {
  if (unreleased) return t.skip(unreleased);
  // buildRelease has thrown where this is not so; the figures are for the reader of the log.
  t.diagnostic(`${basename(released.path)}: ${released.size} bytes, needs glibc ${released.glibc} and ${released.libraries.join(', ')}`);
  assert.match(released.glibc, /^2\.(\d|1\d|2[0-8])(\.|$)/);
});

test('the tarballs hold what is meant to be published and nothing else', (t) => {
  if (unreleased) t.diagnostic(unreleased);
  const documents = readdirSync(root).filter((name) => /^(README\.md|CHANGELOG\.md|LICENSE-.*)$/.test(name));
  assert.deepEqual(filesIn(packed.main), [...documents, 'doctor.js', 'index.d.ts', 'index.js', 'package.json'].sort());
  for (const tarball of packed.platforms) {
    assert.deepEqual(filesIn(tarball), ['LICENSE-APACHE', 'LICENSE-MIT', 'README.md', 'package.json', host.binary].sort());
  }
  const licences = documents.filter((name) => name.startsWith('LICENSE-'));
  assert.deepEqual(filesIn(packed.command), [...licences, 'README.md', 'json.d.ts', 'package.json', 'stillcore.js'].sort());
  for (const tarball of packed.commands) {
    assert.deepEqual(filesIn(tarball), [...licences, 'README.md', 'package.json', 'stillcore'].sort());
  }
});

test('installing runs nothing, and picks the platform by optionalDependencies', () => {
  const main = JSON.parse(readFileSync(join(project, 'node_modules', 'stillcore', 'package.json'), 'utf8'));
  assert.equal(main.scripts, undefined);
  assert.equal(main.dependencies, undefined);
  assert.deepEqual(main.optionalDependencies, Object.fromEntries(platforms.map((platform) => [platform.package, manifest.version])));
  assert.ok(platforms.some(({ package: name }) => name === host.package) && platforms.length === 2);
  const platform = JSON.parse(readFileSync(join(project, 'node_modules', host.package, 'package.json'), 'utf8'));
  assert.equal(platform.scripts, undefined);
  assert.deepEqual([platform.os, platform.cpu, platform.libc], [['linux'], [process.arch], ['glibc']]);
});

for (const node of await nodes()) {
  test(`both module systems load it on ${node.label}`, { skip: node.skip }, async () => {
    writeFileSync(join(project, 'required.cjs'), `
      const { createCore, collectCore } = require('stillcore');
      const { version } = require('stillcore/package.json');
      console.log(typeof createCore, typeof collectCore, version);
    `);
    writeFileSync(join(project, 'imported.mjs'), `
      import { createCore, collectCore } from 'stillcore';
      import stillcore from 'stillcore';
      console.log(typeof createCore, typeof collectCore, stillcore.createCore === createCore);
    `);
    for (const [script, expected] of [
      ['required.cjs', `function function ${manifest.version}\n`],
      ['imported.mjs', 'function function true\n'],
    ]) {
      const { code, stdout, stderr } = await runNode(node, script, { cwd: project });
      assert.equal(stderr, '');
      assert.equal(stdout, expected);
      assert.equal(code, 0);
    }
  });
}

test('the installed package takes a core', async (t) => {
  const script = { source: `
    require('stillcore').createCore({ directory: process.cwd() }).then(
      (path) => console.log(JSON.stringify({ path })),
      ({ code, message }) => console.log(JSON.stringify({ code, message })),
    );
  ` };
  const { stdout, stderr } = await runNode(process.execPath, script, { cwd: project });
  assert.equal(stderr, '');
  const { path, code, message } = JSON.parse(stdout);
  // A machine whose kernel leaves no core files can still say that the package works: it refuses for that reason.
  if (code === 'ERR_CORE_PATTERN' || code === 'ERR_CORE_LIMIT') return t.skip(message);
  assert.equal(message, undefined);
  assert.match(path, /\/project\/core_\d{8}\.\d{6}\.\d+\.\d{3}\/core$/);
  const header = readFileSync(path).subarray(0, 64);
  assert.equal(header.toString('latin1', 1, 4), 'ELF');
  assert.equal(header.readUInt16LE(16), 4, 'e_type is ET_CORE');
});

test('where there is no binary the module still loads, and its calls say why they fail', async () => {
  const other = join(folder, 'no-binary');
  await install(other, [packed.main], '--omit=optional');
  assert.ok(!existsSync(join(other, 'node_modules', host.package)));
  const script = { source: `require('stillcore').createCore().catch((error) => console.log(error.code, error.message))` };
  const { stdout, stderr } = await runNode(process.execPath, script, { cwd: other });
  assert.equal(stderr, '');
  assert.match(stdout, /^ERR_UNSUPPORTED_PLATFORM /);
});

// --- the command ----------------------------------------------------------------------------------------

const shim = join(cli, 'node_modules', '.bin', 'stillcore');

/** Runs the installed command: { code, signal, stdout, stderr }. Its input is `input`. */
function stillcore(args, { node = process.execPath, input, onStart } = {}) {
  return new Promise((resolve, reject) => {
    const child = spawn(node, [shim, ...args], { cwd: cli, env: { HOME: folder, PATH: join(folder, 'bin') } });
    let [stdout, stderr] = ['', ''];
    child.stdout.setEncoding('utf8').on('data', (text) => (stdout += text));
    child.stderr.setEncoding('utf8').on('data', (text) => (stderr += text));
    child.on('error', reject).on('close', (code, signal) => resolve({ code, signal, stdout, stderr }));
    child.stdin.on('error', () => {});
    if (input !== null) child.stdin.end(input);
    onStart?.(child);
  });
}

/** A core of an ordinary process, by the packages alone. */
const someCore = (() => {
  let path;
  return async () => {
    const script = { source: `
      require('stillcore').createCore({ directory: process.cwd(), method: 'direct' }).then((path) => console.log(path));
    ` };
    path ??= runNode(process.execPath, script, { cwd: project }).then(({ stdout }) => stdout.trim());
    assert.match(await path, /core$/);
    return path;
  };
})();

for (const node of await nodes()) {
  test(`the installed command reads a core, and ends as it should, on ${node.label}`, { skip: node.skip }, async () => {
    const core = await someCore();
    const info = await stillcore(['info', core], { node: node.path });
    assert.equal(info.stderr, '');
    assert.match(info.stdout, /^captured +by stillcore .*, direct way, while it ran; nothing crashed$/m);
    assert.equal(info.code, 0);
    for (const [args, code] of [[['info', join(folder, 'no-such-core')], 3], [['info'], 2], [['--version'], 0]]) {
      assert.equal((await stillcore(args, { node: node.path })).code, code, args.join(' '));
    }
  });

  test(`signals reach the installed command on ${node.label}`, { skip: node.skip }, async () => {
    for (const signal of ['SIGTERM', 'SIGINT']) {
      // It waits for a core that never comes.
      const ended = await stillcore(['info', '-'], { node: node.path, input: null, onStart: (child) => setTimeout(() => child.kill(signal), 1000) });
      assert.equal(ended.signal, signal, JSON.stringify(ended));
    }
  });
}

test('npx finds the command', async () => {
  const npm = process.env.npm_execpath ?? output('sh', ['-c', 'readlink -f "$(command -v npm)"']).trim();
  const { stdout } = await execute(process.execPath, [npm, 'exec', '--offline', '--', 'stillcore', 'info', '--json', await someCore()], {
    cwd: cli, env: { PATH: join(folder, 'bin'), HOME: folder, npm_config_cache: join(folder, 'npm-cache') },
  });
  assert.equal(JSON.parse(stdout).how, 'captured');
});

test('the command is installed without scripts, and says what to do where there is no binary', async () => {
  const main = JSON.parse(readFileSync(join(cli, 'node_modules', 'stillcore-cli', 'package.json'), 'utf8'));
  assert.equal(main.scripts, undefined);
  assert.deepEqual(main.optionalDependencies, Object.fromEntries(commands.map((one) => [one.package, manifest.version])));
  // Wherever there is an addon there is a command.
  assert.deepEqual(commands.map(({ target }) => target), platforms.map(({ target }) => target));
  const other = join(folder, 'no-command');
  await install(other, [packed.command], '--omit=optional');
  const { stderr, code } = await execute(process.execPath, [join(other, 'node_modules', '.bin', 'stillcore'), 'info', 'core'])
    .then(() => assert.fail('there is nothing to run'), (error) => error);
  assert.equal(code, 3);
  assert.match(stderr, /^stillcore: stillcore-cli-linux-\w+-gnu is not installed: .*cargo install/);
});

test('the types are right for strict users of both module systems', async () => {
  const uses = (importing) => `
    ${importing}
    const callback: void = createCore((error, filename) => {
      if (error) console.error(error.message);
      else console.log(filename?.length);
    });
    const both: void = collectCore({ directory: '/cores', timeout: 600_000, stallTimeout: 60_000 }, (error, filename) => {
      const failed: Error | null = error;
      const name: string | undefined = filename;
      console.log(callback, failed, name);
    });
    const options: CaptureOptions = { signal: AbortSignal.timeout(1000) };
    const core: Promise<string> = createCore(options);
    const archive: Promise<string> = collectCore();
    export const used = [both, core, archive];
    // @ts-expect-error: options are an object
    createCore('/cores');
    // @ts-expect-error: no such option
    createCore({ folder: '/cores' });
    // @ts-expect-error: ms are a number
    collectCore({ timeout: '10 s' });
  `;
  writeFileSync(join(project, 'uses.mts'), uses(`import { createCore, collectCore, type CaptureOptions } from 'stillcore';`));
  writeFileSync(join(project, 'uses.cts'), uses(`import stillcore = require('stillcore');
    import type { CaptureOptions } from 'stillcore';
    const { createCore, collectCore } = stillcore;`));
  writeFileSync(join(project, 'tsconfig.json'), JSON.stringify({
    compilerOptions: {
      strict: true, noEmit: true, target: 'es2022', lib: ['es2022'], module: 'node16',
      types: ['node'], typeRoots: [join(root, 'node_modules', '@types')], exactOptionalPropertyTypes: true,
    },
    files: ['uses.mts', 'uses.cts'],
  }));
  const tsc = join(root, 'node_modules', 'typescript', 'bin', 'tsc');
  const { stdout } = await execute(process.execPath, [tsc, '--project', project]).catch((error) => error);
  assert.equal(stdout, '');
});
