// What it takes to build for another machine, and to run what was built: Rust's standard library of that machine, and
// qemu with a Node and a glibc of it; and another kernel for this one. From rustup where it has them, else from Debian's packages, which are unpacked into
// .cache/cross/ and never installed: they would take the place of a rustup that is there.
import { spawnSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { cache, NoToolchain, npm, output, works } from './workspace.mjs';

const folder = join(cache, 'cross');
// Debian's names of the machines, and its folders of their libraries.
const DEBIAN = { 'aarch64-unknown-linux-gnu': 'arm64' };
const HOST = { x64: ['amd64', 'x86_64-linux-gnu'], arm64: ['arm64', 'aarch64-linux-gnu'] }[process.arch];
const NODE = 20;

/** The environment that cargo needs to build for `target`. Throws NoToolchain where that cannot be had. */
export function crossToolchain(target) {
  const own = spawnSync('rustc', ['--print', 'target-libdir', '--target', target], { encoding: 'utf8' });
  if (own.status === 0 && existsSync(own.stdout.trim())) return {};
  // Else `rustup target add` would bring one.
  const arch = DEBIAN[target];
  const rustc = join(folder, `rustc-${arch}`);
  if (existsSync(rustc)) return { RUSTC: rustc };
  const apt = debian(arch);
  const into = join(folder, `rust-${arch}`);
  const std = apt.dependency('libstd-rust-web-dev', /^libstd-rust-web-[\d.]+$/);
  const llvm = apt.dependency(std, /^libllvm\d+$/);
  apt.unpack(into, ['rustc-web', 'libstd-rust-web-dev', std, llvm, `libstd-rust-web-dev:${arch}`, `${std}:${arch}`]);
  const libraries = join(into, 'usr', 'lib', HOST[1]);
  const temporary = `${rustc}.tmp`;
  writeFileSync(temporary, `#!/bin/sh\nLD_LIBRARY_PATH='${libraries}' exec '${join(into, 'usr', 'bin', 'rustc')}' "$@"\n`);
  chmodSync(temporary, 0o755);
  const works = spawnSync(temporary, ['--print', 'target-libdir', '--target', target], { encoding: 'utf8' });
  if (works.status !== 0 || !existsSync(works.stdout.trim())) throw new NoToolchain(`Debian's rustc for ${arch} does not run here.\n${works.stderr}`);
  spawnSync('mv', [temporary, rustc]);
  return { RUSTC: rustc };
}

/** A command prefix that runs a Node of `target` here: on that machine its own, else by qemu. Throws NoToolchain. */
export function nodeOf(target) {
  const arch = DEBIAN[target];
  if (process.arch === arch) return [process.execPath];
  const into = join(folder, `run-${arch}`);
  const stamp = join(into, 'unpacked');
  const [qemu, node] = [join(into, 'usr', 'bin', 'qemu-aarch64-static'), join(into, 'node_modules', `node-linux-${arch}`, 'bin', 'node')];
  if (!existsSync(stamp)) {
    debian(arch).unpack(into, ['qemu-user-static', `libc6:${arch}`, `libgcc-s1:${arch}`, `libstdc++6:${arch}`]);
    writeFileSync(join(into, 'package.json'), '{ "private": true }\n');
    try {
      npm(['install', '--no-save', '--force', `--cpu=${arch}`, '--os=linux', `node-linux-${arch}@${NODE}`], { cwd: into, stdio: 'pipe' });
    } catch (error) {
      throw new NoToolchain(`no Node for ${arch} could be had from npm.\n${error.message}`);
    }
    writeFileSync(stamp, '');
  }
  return [qemu, '-L', into, node];
}

/** A Linux that runs as a program (User-mode Linux), for what this machine's kernel was built without. Throws NoToolchain. */
export function userModeLinux() {
  const into = join(folder, 'uml');
  const program = join(into, 'usr', 'bin', 'linux.uml');
  if (process.arch !== 'x64') throw new NoToolchain('User-mode Linux is for x86_64.');
  if (!existsSync(program)) debian(HOST[0]).unpack(into, ['user-mode-linux']);
  return program;
}

/** Debian's packages for this machine and another one, by lists of our own: apt's settings here stay as they are. */
function debian(arch) {
  if (!HOST || !works('apt-get') || !works('dpkg-deb')) {
    throw new NoToolchain(`Debian's packages for ${arch} would do, but this is no Debian.`);
  }
  const state = join(folder, 'apt');
  for (const name of ['lists/partial', 'cache/archives/partial', 'debs']) mkdirSync(join(state, name), { recursive: true });
  writeFileSync(join(state, 'status'), '');
  const options = [
    `APT::Architecture=${HOST[0]}`, `APT::Architectures::=${HOST[0]}`, `APT::Architectures::=${arch}`,
    `Dir::State::lists=${join(state, 'lists')}`, `Dir::State::status=${join(state, 'status')}`, `Dir::Cache=${join(state, 'cache')}`,
    'Debug::NoLocking=1', 'APT::Sandbox::User=', 'Acquire::Languages=none',
  ].flatMap((option) => ['-o', option]);
  const ask = (command, args, more) => {
    try {
      return output(command, [...options, ...args], more);
    } catch (error) {
      throw new NoToolchain(`Debian's packages for ${arch} cannot be had here.\n${error.message}`);
    }
  };
  ask('apt-get', ['update', '-qq']);
  return {
    /** The one package among the dependencies of another that has such a name. */
    dependency(name, pattern) {
      const words = ask('apt-cache', ['show', '--no-all-versions', name]).match(/^Depends:.*$/m)?.[0].split(/[ ,|]+/) ?? [];
      const found = words.find((word) => pattern.test(word));
      if (!found) throw new NoToolchain(`Debian's package ${name} is not what it was: it depends on nothing like ${pattern}.`);
      return found;
    },
    unpack(into, names) {
      rmSync(into, { recursive: true, force: true });
      mkdirSync(into, { recursive: true });
      const debs = join(into, 'debs');
      mkdirSync(debs);
      ask('apt-get', ['download', '-qq', ...names], { cwd: debs });
      for (const deb of readdirSync(debs)) output('dpkg-deb', ['-x', join(debs, deb), into]);
      rmSync(debs, { recursive: true });
    },
  };
}
