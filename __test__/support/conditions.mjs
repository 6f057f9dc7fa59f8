// Bad conditions for a subject: mounts of its own, control groups, system calls refused, signals meddled with. Each
// ends with the process or the test that it was made for, also when that is killed, but for a control group's folder.
import { spawnSync } from 'node:child_process';
import {
  accessSync, closeSync, constants, mkdirSync, mkdtempSync, openSync, readFileSync, readdirSync, rmSync, rmdirSync,
  truncateSync, writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { findCargo, output, root, run, targetDirectory } from '../../scripts/workspace.mjs';
import { temporaryFolder, waitFor } from './files.mjs';

export const isRoot = process.getuid() === 0;

/** Why a subject cannot be another user's here, or false. Being called root is not enough: a user namespace has one too. */
export const noOtherUsers = (() => {
  const tried = spawnSync('true', { uid: 65534, gid: 65534 });
  return tried.status === 0 ? false : `this user may start nothing as another (${tried.error?.code ?? tried.signal})`;
})();

// --- mounts ------------------------------------------------------------------------------------------

const namespace = ['unshare', '--mount', '--propagation', 'private', '--'];

/** Why a subject cannot have mounts of its own here, or false. */
export const noMounts = (() => {
  const tried = spawnSync(namespace[0], [...namespace.slice(1), 'mount', '-t', 'tmpfs', 'none', '/mnt'], { encoding: 'utf8' });
  return tried.status === 0 ? false : `mounting is not allowed here (${(tried.stderr || String(tried.error)).trim()})`;
})();

/**
 * A command prefix (option `wrap` of a subject) that makes mounts which only the subject sees. Each is the list of
 * mount's arguments; `seen` (subject.mjs) finds them from outside.
 */
export function withMounts(...mounts) {
  // The arguments come as "$@": for each mount their number, then they themselves, then 0 and the command.
  const script = 'while n=$1; shift; [ "$n" -gt 0 ]; do a=; i=0; while [ $i -lt $n ]; do i=$((i+1)); a="$a \\"\\${$i}\\""; done; eval "mount $a" || exit 71; shift $n; done; exec "$@"';
  return [...namespace, 'sh', '-c', script, 'sh', ...mounts.flatMap((mount) => [String(mount.length), ...mount]), '0'];
}

/** Runs a command in the mount namespace of a subject. */
export function inside(subject, command, ...args) {
  return output('nsenter', ['--target', String(subject.pid), '--mount', '--', command, ...args]);
}

/** Why there are no file systems in files here, or false. */
export const noLoops = noMounts || (() => {
  const folder = mkdtempSync(join(tmpdir(), 'stillcore-'));
  const image = join(folder, 'image');
  writeFileSync(image, '');
  truncateSync(image, 1 << 20);
  try {
    for (const command of [['mkfs.ext4', '-q', image], [...namespace, 'mount', '-o', 'loop', image, folder]]) {
      const tried = spawnSync(command[0], command.slice(1), { encoding: 'utf8' });
      if (tried.status !== 0) return `no file systems in files here (${(tried.stderr || String(tried.error)).trim()})`;
    }
    return false;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
})();

// --- control groups ----------------------------------------------------------------------------------

/** The folder of this process's own group in the hierarchy of a controller: { version, folder }, or undefined. */
function hierarchy(controller) {
  const mounts = readFileSync('/proc/self/mountinfo', 'utf8').split('\n').map((line) => line.split(' - '));
  const find = (accept) => {
    const found = mounts.find(([, rest]) => rest && accept(...rest.split(' ')));
    return found?.[0].split(' ')[4];
  };
  const one = find((type, _source, options) => type === 'cgroup' && options.split(',').includes(controller));
  if (one) return { version: 1, folder: one };
  const two = find((type) => type === 'cgroup2');
  if (!two) return undefined;
  try {
    const given = readFileSync(join(two, 'cgroup.subtree_control'), 'utf8').split(/\s+/);
    return given.includes(controller) ? { version: 2, folder: two } : undefined;
  } catch {
    return undefined;
  }
}

let groups = 0;

/**
 * Makes a control group with that controller, removed when the test ends:
 * { version, folder, wrap, set(name, value), get(name) }, or { skip: why there is none }.
 */
export function controlGroup(t, controller) {
  const found = hierarchy(controller);
  if (!found) return { skip: `no control groups with ${controller} here` };
  const folder = join(found.folder, `stillcore-test-${process.pid}-${(groups += 1)}`);
  try {
    mkdirSync(folder);
    accessSync(join(folder, 'cgroup.procs'), constants.W_OK);
  } catch (error) {
    return { skip: `no control group can be made here (${error.message})` };
  }
  t.after(() => {
    // This may come before the subject is ended.
    return waitFor(() => {
      if (controller === 'freezer' && found.version === 1) writeFileSync(join(folder, 'freezer.state'), 'THAWED');
      for (const pid of readFileSync(join(folder, 'cgroup.procs'), 'utf8').split('\n').filter(Boolean)) process.kill(Number(pid), 'SIGKILL');
      rmdirSync(folder);
      return true;
    }, { what: `${folder} to be empty`, timeout: 5000 });
  });
  return {
    version: found.version,
    folder,
    wrap: ['sh', '-c', 'echo $$ > "$0" && exec "$@"', join(folder, 'cgroup.procs')],
    set: (name, value) => writeFileSync(join(folder, name), String(value)),
    get: (name) => readFileSync(join(folder, name), 'utf8').trim(),
  };
}

/** How many tasks (processes and threads) an idle process has. */
export function tasks(pid) {
  return readdirSync(`/proc/${pid}/task`).length;
}

// --- what is written in Rust -------------------------------------------------------------------------

let built;

function examples() {
  if (!built) {
    findCargo();
    run('cargo', ['build', '--quiet', '--package', 'stillcore-capture', '--example', 'refuse', '--example', 'meddle'], { cwd: root });
    const folder = join(targetDirectory(), 'debug', 'examples');
    built = { refuse: join(folder, 'refuse'), meddle: join(folder, 'libmeddle.so') };
  }
  return built;
}

/** A command prefix that refuses system calls by a seccomp filter; rules as crates/capture/examples/refuse.rs has them. */
export function refusing(...rules) {
  return [examples().refuse, ...rules, '--'];
}

/** Why there are no seccomp filters here, or false. */
export function noFilters() {
  const tried = spawnSync(examples().refuse, ['kill:0=0:EPERM', '--', 'true'], { encoding: 'utf8' });
  return tried.status === 0 ? false : `no seccomp filters here (${tried.stderr.trim()})`;
}

/** Changes a live subject as native code in it may; words as crates/capture/examples/meddle.rs has them. */
export function meddle(subject, words) {
  return subject.run(({ require }, library, words) => {
    process.env.MEDDLE = words;
    try {
      process.dlopen({ exports: {} }, library, require('node:os').constants.dlopen.RTLD_NOW);
    } catch (error) {
      if (!/self-register/.test(error.message)) throw error;
    } finally {
      delete process.env.MEDDLE;
    }
  }, examples().meddle, words);
}

// --- the thread pool ---------------------------------------------------------------------------------

/**
 * Occupies threads of a subject's pool until released: each opens a FIFO that nobody writes. With all four, a capture
 * is forked and made ready but gets no thread to go on: it waits in line.
 */
export async function holdPool(t, subject, count = 4) {
  const folder = temporaryFolder(t);
  const fifos = Array.from({ length: count }, (_, number) => join(folder, `fifo-${number}`));
  output('mkfifo', ['--mode=666', ...fifos]);
  await subject.run(({ require, kept }, paths) => {
    const { promises } = require('node:fs');
    kept.held = paths.map((path) => promises.open(path, 'r'));
  }, fifos);
  const writers = [];
  return {
    /** How many threads stand still in opening a FIFO now. */
    blocked: () => readdirSync(`/proc/${subject.pid}/task`).filter((task) => {
      return readFileSync(`/proc/${subject.pid}/task/${task}/wchan`, 'latin1').includes('partner');
    }).length,
    async release() {
      // For both ends: that never blocks, and lets the reader go.
      for (const path of fifos) writers.push(openSync(path, 'r+'));
      await subject.run(async ({ kept }) => {
        for (const file of await Promise.all(kept.held)) await file.close();
      });
      for (const writer of writers.splice(0)) closeSync(writer);
    },
  };
}
