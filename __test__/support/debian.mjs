// Debian's own Nodes: PIE, stripped, V8 in libnode.so. Each suite's packages are unpacked once into .cache/debian/<suite>/, with
// all that they need, and run in that folder as their root; nothing is installed on this machine. The packages come from
// where this machine's own apt has its packages from.
//
//   for (const node of await debianNodes())
//     test(`... on ${node.label}`, { skip: node.skip }, () => { ... node.path ... '--sysroot', node.sysroot ... });
import { execFile } from 'node:child_process';
import { mkdir, readdir, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { root } from '../../scripts/workspace.mjs';

const run = promisify(execFile);
const cache = join(root, '.cache', 'debian');

/** Suites, oldest first. What `testing` has changes with time; the others stay as they are. */
export const SUITES = ['bookworm', 'trixie', 'testing'];
/** The majors that are read, of which a test can expect something. */
const KNOWN = [18, 20, 22, 24, 26];

let found;

/**
 * One entry for each of SUITES. `path` is a program that runs its Node with the arguments that it is given, in the same
 * folder: the project's and those for temporary files are there too. `sysroot` is where the files of such a process lie.
 * `skip` is false, or why there is none.
 */
export function debianNodes() {
  found ??= findAll();
  return found;
}

async function findAll() {
  const out = [];
  for (const suite of SUITES) {
    const none = (why) => out.push({ suite, label: `Debian ${suite}`, skip: `no Node of Debian's ${suite}: ${why}` });
    if (process.platform !== 'linux') {
      none('this is no Linux');
      continue;
    }
    const sysroot = join(cache, suite, 'root');
    let path = await runner(suite, sysroot).catch(() => undefined);
    let version = path && await versionOf(path);
    if (typeof version !== 'string') {
      const why = await install(suite).then(() => undefined, reasonOf);
      if (why) {
        none(why);
        continue;
      }
      path = await runner(suite, sysroot);
      version = await versionOf(path);
    }
    if (typeof version !== 'string') {
      none(`it does not run in a root of its own (${reasonOf(version)})`);
      continue;
    }
    const major = Number(version.split('.')[0]);
    if (!KNOWN.includes(major)) {
      none(`it has Node ${version}, which is none of the ${KNOWN.join(', ')} that are read`);
      continue;
    }
    out.push({ suite, major, version, path, sysroot, label: `Node ${version} of Debian's ${suite}`, skip: false });
  }
  return out;
}

/** The version; or the error, where it does not run. */
async function versionOf(path) {
  try {
    return (await run(path, ['--version'])).stdout.trim().slice(1);
  } catch (error) {
    return error;
  }
}

/** Writes the program that runs a suite's Node. Its process is the one that was started: nothing stays around it. */
async function runner(suite, sysroot) {
  await readdir(join(sysroot, 'usr', 'bin'));
  const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;
  const shared = [...new Set([root, tmpdir()])];
  await Promise.all(shared.map((folder) => mkdir(join(sysroot, folder), { recursive: true })));
  const mounts = ['/proc', '/dev', ...shared].map((folder) => `mount --rbind ${quoted(folder)} ${quoted(join(sysroot, folder))}`);
  // In a name space of its own for mounts: they are seen by nobody else and go with the process.
  const inside = `${mounts.join(' && ')} && exec chroot ${quoted(sysroot)} /bin/sh -c 'cd "$0" && exec /usr/bin/node "$@"' "$PWD" "$@"`;
  const path = join(cache, suite, 'node');
  const text = `#!/bin/sh\n# Made by __test__/support/debian.mjs\nexec unshare ${process.getuid() === 0 ? '' : '--map-root-user '}--mount sh -c ${quoted(inside)} node "$@"\n`;
  const temporary = `${path}.${process.pid}.tmp`;
  await writeFile(temporary, text, { mode: 0o755 });
  await rename(temporary, path);
  return path;
}

/** Address of this machine's Debian archive, and the keys that sign it. */
async function archive() {
  const { stdout } = await run('apt-get', ['indextargets', '--format', '$(REPO_URI)|$(COMPONENT)|$(RELEASE)']);
  const lines = stdout.split('\n').map((line) => line.split('|'));
  const main = lines.find(([, component, release]) => component === 'main' && /^[a-z]+$/.test(release ?? ''));
  if (!main) throw new Error('apt knows no archive of Debian');
  return main[0];
}

async function install(suite) {
  const own = join(cache, `${suite}.${process.pid}.tmp`);
  try {
    const uri = await archive();
    const apt = join(own, 'apt');
    for (const folder of ['state/lists/partial', 'cache/archives/partial']) await mkdir(join(apt, folder), { recursive: true });
    await writeFile(join(apt, 'status'), '');
    const keys = '/usr/share/keyrings/debian-archive-keyring.gpg';
    await writeFile(join(apt, 'sources.list'), `deb [signed-by=${keys}] ${uri} ${suite} main\n`);
    const options = Object.entries({
      'Dir::State': join(apt, 'state'), 'Dir::State::status': join(apt, 'status'), 'Dir::Cache': join(apt, 'cache'),
      'Dir::Etc::sourcelist': join(apt, 'sources.list'), 'Dir::Etc::sourceparts': '/dev/null', 'Dir::Etc::preferencesparts': '/dev/null',
      'APT::Install-Recommends': '0', 'APT::Sandbox::User': '', 'Acquire::Retries': '1', 'Acquire::Languages': 'none',
    }).flatMap(([name, value]) => ['-o', `${name}=${value}`]);
    const limits = { timeout: 300_000, maxBuffer: 1 << 26, env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive', LC_ALL: 'C' } };
    await run('apt-get', [...options, 'update', '-o', 'APT::Update::Error-Mode=any'], limits);
    // The status is empty, so everything down to the C library comes with it.
    await run('apt-get', [...options, '-y', '--download-only', 'install', 'nodejs', 'dash'], limits);
    const target = join(own, 'root');
    for (const folder of ['bin', 'lib', 'lib64', 'sbin']) {
      await mkdir(join(target, 'usr', folder), { recursive: true });
      await symlink(`usr/${folder}`, join(target, folder));
    }
    for (const folder of ['proc', 'dev', 'tmp']) await mkdir(join(target, folder), { recursive: true });
    const archives = join(apt, 'cache', 'archives');
    for (const name of (await readdir(archives)).filter((name) => name.endsWith('.deb'))) {
      await run('sh', ['-c', 'dpkg-deb --fsys-tarfile "$0" | tar -x -C "$1" --no-same-owner --keep-directory-symlink', join(archives, name), target], limits);
    }
    await rm(apt, { recursive: true });
    await rm(join(cache, suite), { recursive: true, force: true });
    // Two test files may come here at once: whichever is first gives it its name.
    await rename(own, join(cache, suite)).catch((error) => {
      if (error.code !== 'ENOTEMPTY' && error.code !== 'EEXIST') throw error;
    });
  } finally {
    await rm(own, { recursive: true, force: true });
  }
}

function reasonOf(error) {
  if (error.code === 'ENOENT') return `there is no ${error.path ?? error.syscall}`;
  const lines = String(error.stderr || error.message).split('\n').filter(Boolean);
  return lines.find((line) => /^E: |^unshare|^mount|^chroot/.test(line)) ?? lines[0] ?? 'no reason told';
}

// Run by itself it only unpacks them.
if (process.argv[1] === fileURLToPath(import.meta.url)) {
  for (const node of await debianNodes()) console.log(node.skip || `${node.label}: ready`);
}
