// A live Node process (programs/subject.cjs) to take captures of in bad conditions, and the checks of what must hold
// after every one of them, failed or not: nothing left on disk, no child, no descriptor, V8's marks as before, and a
// service that goes on.
import assert from 'node:assert/strict';
import { readFileSync, readdirSync, readlinkSync, statSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { constants } from 'node:os';
import { fileURLToPath } from 'node:url';
import { getSystemErrorMap } from 'node:util';
import { hasText, temporaryFolder, waitFor } from './files.mjs';
import { startNode } from './run.mjs';

// These are the conditions of the kernel's way; where it fails, `auto` would take the direct one.
process.env.STILLCORE_METHOD ??= 'kernel';

const program = join(dirname(dirname(fileURLToPath(import.meta.url))), 'programs', 'subject.cjs');

/**
 * Starts a subject. Takes what startNode takes; `t` is the context of the test that it belongs to.
 * `pid` in the options finds the process where the started one is not it: (pid of the started one) => pid.
 */
export async function startSubject(t, node, options = {}) {
  const started = await startNode(node, program, { t, ...options });
  const [, pid, heap, buffer] = (await started.line(/^ready /)).split(' ');
  const subject = {
    ...started,
    pid: options.pid ? await options.pid(started.pid) : Number(pid),
    markers: [heap, buffer],
    requests: 0,
    /** Runs a function in the subject: (tools, ...args) => value, see there. It sees nothing of where it is written. */
    async run(source, ...args) {
      const id = (this.requests += 1);
      started.child.stdin.write(`${JSON.stringify({ id, source: String(source), args })}\n`);
      const line = await started.line(new RegExp(`^{"id":${id}[,}]`));
      const { value, error } = JSON.parse(line);
      if (error) throw Object.assign(new Error(`in the subject: ${error.message ?? error.thrown}`), { subject: error });
      return value;
    },
    /** A capture: { path } or { error }. */
    capture(what, options_, form) {
      return this.run(({ capture }, what, options, form) => capture(what, options ?? undefined, form), what, options_, form);
    },
    ended: started.done,
  };
  return subject;
}

// --- what /proc tells --------------------------------------------------------------------------------

/** The children of a process, zombies too: [{ pid, state }]. */
export function children(parent) {
  return processes().filter((one) => one.parent === parent);
}

/** All processes: [{ pid, name, state, parent }]. */
export function processes() {
  const found = [];
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    try {
      const text = readFileSync(`/proc/${name}/stat`, 'latin1');
      const end = text.lastIndexOf(')');
      const [state, parent] = text.slice(end + 2).split(' ');
      found.push({ pid: Number(name), name: text.slice(text.indexOf('(') + 1, end), state, parent: Number(parent) });
    } catch {
      // It has ended meanwhile.
    }
  }
  return found;
}

export function descriptors(pid) {
  return readdirSync(`/proc/${pid}/fd`).map((fd) => {
    try {
      return readlinkSync(`/proc/${pid}/fd/${fd}`);
    } catch {
      return 'gone';
    }
  });
}

/** The mappings of a process: [{ start, end, name, marked }], `marked`: MADV_DONTFORK. */
export function mappings(pid) {
  const found = [];
  for (const line of readFileSync(`/proc/${pid}/smaps`, 'latin1').split('\n')) {
    const head = /^([0-9a-f]+)-([0-9a-f]+) \S+ \S+ \S+ \S+ *(.*)$/.exec(line);
    if (head) found.push({ start: Number.parseInt(head[1], 16), end: Number.parseInt(head[2], 16), name: head[3], marked: false });
    else if (line.startsWith('VmFlags:')) found.at(-1).marked = line.split(' ').includes('dc');
  }
  return found;
}

/** What had a mark before, is still mapped, and has none now. */
function unmarked(pid, before) {
  const marks = before.filter((one) => one.marked);
  return mappings(pid).filter((one) => !one.marked && marks.some((mark) => mark.start < one.end && one.start < mark.end));
}

/** What was mapped without a mark, and has one now: nothing of that is V8's, and children of the service may need it. */
function wronglyMarked(pid, before) {
  const others = before.filter((one) => !one.marked);
  return mappings(pid).filter((one) => one.marked && others.some((other) => other.start < one.end && one.start < other.end));
}

// --- checks ------------------------------------------------------------------------------------------

/** What a process is like before a capture, for `asBefore`. */
export function stateOf(subject, directory) {
  return {
    files: directory && listing(subject, directory),
    descriptors: descriptors(subject.pid).length,
    mappings: settledMappings(subject.pid),
  };
}

/** V8 maps a page and then marks it: what is seen without a mark in between is asked again. */
function settledMappings(pid) {
  const first = mappings(pid);
  const second = mappings(pid);
  return second.filter((one) => one.marked || first.some((other) => !other.marked && other.start === one.start && other.end === one.end));
}

/** A path of the subject's as it is seen from here: it may have mounts of its own. */
export function seen(subject, path) {
  const own = `/proc/${subject.pid}/root${path}`;
  try {
    statSync(`/proc/${subject.pid}/root`);
    return own;
  } catch {
    return path; // only root may look into a process of another user
  }
}

function listing(subject, directory) {
  try {
    return readdirSync(seen(subject, directory)).sort();
  } catch {
    return [];
  }
}

/** Checks that a capture left nothing behind, and that the service goes on. */
export async function asBefore(subject, before, directory) {
  const all = 'the subject to be as before the capture';
  let wrong;
  await waitFor(
    () => {
      const marks = unmarked(subject.pid, before.mappings);
      const now = mappings(subject.pid).filter((one) => one.marked);
      wrong = {
        files: directory ? listing(subject, directory).filter((name) => !before.files.includes(name)) : [],
        children: children(subject.pid),
        descriptors: descriptors(subject.pid).length > before.descriptors ? descriptors(subject.pid) : [],
        unmarked: marks,
        wronglyMarked: wronglyMarked(subject.pid, before.mappings),
        marks: now.length ? [] : ['none at all'],
      };
      return Object.values(wrong).every((list) => list.length === 0);
    },
    { what: all, timeout: 8000, interval: 50 },
  ).catch((error) => assert.fail(`${error.message}: ${JSON.stringify(wrong)}`));
  await answers(subject);
}

/** Checks that the service still works: the event loop, the thread pool, and child processes of its own. */
export async function answers(subject) {
  const answer = await subject.run(async ({ require }) => {
    const { readFile } = require('node:fs/promises');
    const { spawn } = require('node:child_process');
    const text = await readFile(process.argv[1], 'latin1');
    const child = spawn('false', { stdio: 'ignore' });
    const status = await new Promise((resolve, reject) => child.on('error', reject).on('exit', (code, signal) => resolve(code ?? signal)));
    return [text.length > 0, status];
  });
  assert.deepEqual(answer, [true, 1], 'the service answers');
}

/**
 * Checks an error of a capture: { code, message: pattern or patterns, name, errno, syscall, path }.
 * With an errno it must look as Node's own errors do.
 */
export function assertError(answer, expected) {
  assert.ok(answer.error, `a capture that must fail gave ${answer.path}`);
  const { error, calls } = answer;
  assert.equal(calls, 1, 'the caller was told once');
  const shown = JSON.stringify({ ...error, stack: undefined });
  assert.ok([expected.code].flat().includes(error.code), `code is not ${expected.code}: ${shown}`);
  assert.equal(error.name, expected.name ?? 'Error');
  for (const pattern of [expected.message ?? []].flat()) {
    if (typeof pattern === 'string') assert.ok(error.message.includes(pattern), `no '${pattern}' in ${shown}`);
    else assert.match(error.message, pattern);
  }
  if (error.code.startsWith('E') && !error.code.startsWith('ERR_')) {
    assert.equal(error.errno, -constants.errno[error.code], shown);
    assert.ok(error.syscall, shown);
    // Node's words, and then ours.
    const [, words] = getSystemErrorMap().get(error.errno) ?? [];
    const path = error.path ? ` '${error.path}'` : '';
    const start = `${error.code}: ${words}, ${error.syscall}${path}`;
    assert.ok(`${error.message}. `.startsWith(`${start}. `), `not '${start}': ${shown}`);
    assert.deepEqual(error.keys, ['errno', 'code', 'syscall', ...(error.path ? ['path'] : [])], 'the properties of Node\'s errors');
  }
  for (const name of ['syscall', 'path']) {
    if (name in expected) assert.equal(error[name], expected[name], shown);
  }
}

/** Captures that must fail, in both forms, with all checks. Gives the answer to the last. */
export async function mustFail(subject, options, expected, { what = 'createCore', forms = ['promise', 'callback'] } = {}) {
  let answer;
  for (const form of forms) {
    const before = stateOf(subject, options?.directory);
    answer = await subject.capture(what, options, form);
    assertError(answer, expected);
    await asBefore(subject, before, options?.directory);
  }
  return answer;
}

const ENV_NAME = /^core_\d{8}\.\d{6}\.(\d+)\.(\d{3,})$/;

/** A capture in good conditions: whole, named as documented, with what was in the heap and beside it; then removed. */
export async function mustSucceed(subject, directory, options = {}) {
  const before = stateOf(subject, directory);
  const answer = await subject.capture('createCore', { directory, ...options });
  assert.equal(answer.error, undefined, `a capture in good conditions failed: ${JSON.stringify(answer.error)}`);
  await checkCore(subject, answer.path, directory);
  await rm(seen(subject, dirname(answer.path)), { recursive: true });
  await asBefore(subject, before, directory);
}

/** Begins a capture and does not wait for it: its answer comes from `answerOf` with the same name. */
export function begin(subject, name, what, options, form) {
  return subject.run(({ capture, kept }, name, ...rest) => {
    kept[name] = capture(...rest).then((answer) => (kept[`${name} is over`] = answer));
  }, name, what, options, form);
}

export function answerOf(subject, name) {
  return subject.run(({ kept }, name) => kept[name], name);
}

export function isOver(subject, name) {
  return subject.run(({ kept }, name) => `${name} is over` in kept, name);
}

/** The working folders in a directory with what lies in each: [{ name, files: { name: bytes on disk } }]. */
export function working(subject, directory) {
  const path = seen(subject, directory);
  return readdirSync(path).filter((name) => /^\.core_.*\.partial$/.test(name)).map((name) => {
    const files = {};
    for (const file of readdirSync(join(path, name))) files[file] = statSync(join(path, name, file)).blocks * 512;
    return { name, files };
  });
}

/** Waits until the kernel has begun to write a core of a subject into that directory. */
export function untilDumping(subject, directory, bytes = 20 << 20) {
  const large = () => working(subject, directory).some(({ files }) => Object.values(files).some((size) => size > bytes));
  return waitFor(large, { interval: 2, what: 'the core to grow' });
}

/** Waits until an archive is being written there. */
export function untilPacking(subject, directory, timeout) {
  const begun = () => working(subject, directory).some(({ files }) => files.archive > 1 << 20);
  return waitFor(begun, { interval: 2, what: 'the archive to grow', timeout });
}

/** Gives a subject memory that takes the kernel a while to write, and the packer a while to pack. */
export function grow(subject, megabytes) {
  return subject.run(({ kept, require }, bytes) => {
    kept.random = require('node:crypto').randomBytes(bytes);
  }, megabytes << 20);
}

/** Checks the core itself. */
export async function checkCore(subject, path, directory) {
  assert.equal(basename(path), 'core');
  assert.match(basename(dirname(path)), ENV_NAME);
  assert.equal(dirname(dirname(path)), directory);
  path = seen(subject, path);
  assert.deepEqual(readdirSync(dirname(path)), ['core'], 'nothing but the core is in its folder');
  assert.equal(statSync(path).mode & 0o777, 0o600);
  assert.equal(statSync(dirname(path)).mode & 0o777, 0o700);
  for (const marker of subject.markers) {
    assert.ok(hasText(path, marker), `no '${marker}' in the core`);
  }
}

/** A capture that fails, then one in good conditions: the shape of most tests here. */
export async function failsThenWorks(t, subject, options, expected, { good = temporaryFolder(t), ...more } = {}) {
  const answer = await mustFail(subject, options, expected, more);
  await mustSucceed(subject, good);
  return answer;
}
