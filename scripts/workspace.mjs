// What the scripts in this folder share. Only Node's own modules: these scripts run on a fresh clone,
// before anything has been installed.
import { spawn, spawnSync } from 'node:child_process';
import { accessSync, constants, copyFileSync, existsSync, readFileSync, renameSync } from 'node:fs';
import { homedir } from 'node:os';
import { delimiter, dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = dirname(dirname(fileURLToPath(import.meta.url)));
/** Everything that is downloaded or made only to build and test; ignored by git, safe to delete. */
export const cache = join(root, '.cache');
export const manifest = readJson(join(root, 'package.json'));

/** Rust target -> the name npm packages of that platform end with, and the fields npm selects them by. */
const PLATFORMS = {
  'x86_64-unknown-linux-gnu': { name: 'linux-x64-gnu', os: 'linux', cpu: 'x64', libc: 'glibc' },
  'aarch64-unknown-linux-gnu': { name: 'linux-arm64-gnu', os: 'linux', cpu: 'arm64', libc: 'glibc' },
};

export const platforms = manifest.napi.targets.map((target) => ({
  target,
  ...PLATFORMS[target],
  package: `${manifest.name}-${PLATFORMS[target].name}`,
  binary: `${manifest.napi.binaryName}.${PLATFORMS[target].name}.node`,
  folder: join(root, 'npm', PLATFORMS[target].name),
}));

/** The command line, crates/cli: its packages are named alike. */
export const command = { package: 'stillcore-cli', crate: 'stillcore-cli', folder: join(root, 'npm', 'cli') };

export const commands = platforms.map(({ target, name, os, cpu }) => ({
  target,
  name: `cli-${name}`,
  os,
  cpu,
  package: `${command.package}-${name}`,
  binary: 'stillcore',
  folder: join(root, 'npm', `cli-${name}`),
}));

/** A failure whose message is all there is to say: it is shown without a stack. */
export class Failure extends Error {}

/** The tools cannot be had here: no Python, no Debian, or no way to where they come from. */
export class NoToolchain extends Failure {}

/** Tells whether a module is the one that node was started with, and not imported by another. */
export function isProgram(url) {
  return process.argv[1] === fileURLToPath(url);
}

/** Runs the script's main function; a Failure ends it with its message and exit code 1. */
export async function main(run) {
  try {
    await run();
  } catch (error) {
    console.error(error instanceof Failure ? `\n${error.message}` : error);
    process.exitCode = 1;
  }
}

export function readJson(path) {
  return JSON.parse(readFileSync(path, 'utf8'));
}

/** Runs a command with its output shown; throws a Failure unless it ends with exit code 0. */
export function run(command, args, options = {}) {
  const result = spawnSync(command, args, { cwd: root, stdio: 'inherit', ...options });
  const shown = [command, ...args].map((part) => part.replace(`${root}/`, '')).join(' ');
  if (result.error) throw new Failure(`${shown}: ${result.error.message}`);
  if (result.signal) throw new Failure(`${shown}: ended by ${result.signal}`);
  if (result.status !== 0) {
    const output = [result.stdout, result.stderr].filter(Boolean).join('').trim();
    throw new Failure(`${shown}: exit code ${result.status}${output ? `\n${output}` : ''}`);
  }
  return result;
}

/** The same, quietly: gives what the command wrote to stdout. */
export function output(command, args, options = {}) {
  return run(command, args, { stdio: ['ignore', 'pipe', 'pipe'], encoding: 'utf8', maxBuffer: 1 << 28, ...options }).stdout;
}

/** Runs a command beside others: gives its exit code (or signal), and all that it wrote. */
export function runAside(command, args) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { cwd: root, stdio: ['ignore', 'pipe', 'pipe'] });
    let text = '';
    for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (part) => (text += part));
    child.on('error', reject).on('close', (code, signal) => resolve({ status: code ?? signal, text }));
  });
}

/** Tells whether a command can be run at all. */
export function works(command, args = ['--version']) {
  const result = spawnSync(command, args, { cwd: root, stdio: 'ignore' });
  return !result.error && result.status === 0;
}

/** npm: the one that started this script, else the one in PATH. */
export function npm(args, options = {}) {
  const own = process.env.npm_execpath;
  const quiet = ['--no-audit', '--no-fund', '--no-update-notifier'];
  return own && /npm-cli\.c?js$/.test(own)
    ? run(process.execPath, [own, ...args, ...quiet], options)
    : run('npm', [...args, ...quiet], options);
}

/** The path of cargo, or undefined. rustup's folder counts even where no shell profile added it to PATH. */
export function findCargo() {
  const rustup = join(process.env.CARGO_HOME || join(homedir(), '.cargo'), 'bin');
  const folders = (process.env.PATH || '').split(delimiter).filter(Boolean);
  for (const folder of [...folders, rustup]) {
    try {
      accessSync(join(folder, 'cargo'), constants.X_OK);
    } catch {
      continue;
    }
    if (!folders.includes(folder)) process.env.PATH = [...folders, folder].join(delimiter);
    return join(folder, 'cargo');
  }
  return undefined;
}

/** The target directory cargo uses here (CARGO_TARGET_DIR and .cargo/config.toml included). */
export function targetDirectory() {
  const metadata = output('cargo', ['metadata', '--format-version=1', '--no-deps', '--offline']);
  return JSON.parse(metadata).target_directory;
}

/** The platform this process runs on, or undefined where there is no binary for it. */
export function hostPlatform() {
  const glibc = process.platform === 'linux' && process.report.getReport().header.glibcVersionRuntime;
  return glibc ? platforms.find((one) => one.os === process.platform && one.cpu === process.arch) : undefined;
}

/**
 * Builds the addon of this machine and puts it at the top level, where index.js finds it. Plain cargo: the same
 * build with and without devDependencies, and nothing that would write over the hand-written index.js and index.d.ts.
 */
export function buildAddon() {
  const host = hostPlatform();
  if (!host) throw new Failure(`stillcore has no addon for ${process.platform}-${process.arch}: nothing to build.`);
  if (!findCargo()) throw new Failure('Building stillcore needs Rust (cargo was not found in PATH): install it with rustup, then run this again.');
  run('cargo', ['build', '--release', '--package', manifest.name]);
  const built = join(targetDirectory(), 'release', `lib${manifest.napi.binaryName}.so`);
  placeFile(built, join(root, host.binary));
  return join(root, host.binary);
}

/** Builds the command line of this machine, and gives the path of the binary. */
export function buildCommand() {
  if (!findCargo()) throw new Failure('Building stillcore needs Rust (cargo was not found in PATH): install it with rustup, then run this again.');
  run('cargo', ['build', '--release', '--package', command.crate]);
  return join(targetDirectory(), 'release', 'stillcore');
}

/** Copies beside the destination, then renames: a process that has the old addon mapped keeps it whole. */
export function placeFile(from, to) {
  const temporary = `${to}.${process.pid}.tmp`;
  copyFileSync(from, temporary);
  renameSync(temporary, to);
}

/** Runs `npm ci` unless node_modules already holds exactly what package-lock.json says. */
export function installDevDependencies() {
  const lock = readJson(join(root, 'package-lock.json'));
  const missing = Object.entries(lock.packages).filter(([path, entry]) => {
    if (path === '' || entry.optional) return false;
    const installed = resolve(root, path, 'package.json');
    return !existsSync(installed) || readJson(installed).version !== entry.version;
  });
  if (missing.length === 0) return false;
  // Without scripts: "prepare" would build the addon, which is a step of its own for those who call this.
  npm(['ci', '--ignore-scripts', '--include=dev']);
  return true;
}
