// Stacks that stillcore reads from cores of __test__/programs/stacks.cjs, beside the traces that V8 printed in the living process.
import assert from 'node:assert/strict';
import { execFile, spawn, spawnSync } from 'node:child_process';
import { existsSync, readFileSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { binary, folder, root } from './autopsy.mjs';

export const program = join(root, '__test__', 'programs', 'stacks.cjs');
const run = promisify(execFile);

/** V8's trace as [name, place]; of awaiting functions the name begins with `async`. */
export function printed(stack) {
  return stack.split('\n').filter((line) => /^ {4}at /.test(line)).map((line) => {
    const text = line.slice(7);
    const combinator = /^async Promise\.\w+ \(index \d+\)$/.test(text);
    if (combinator) return [text, ''];
    const named = /^(.*?) \((.*)\)$/.exec(text);
    if (named) return [named[1], named[2]];
    return text.startsWith('async ') ? ['async <anonymous>', text.slice(6)] : ['<anonymous>', text];
  });
}

function place(frame, none) {
  if (frame.wasm) return `${frame.script}:wasm-function[${frame.wasm.function}]:${frame.wasm.offset}`;
  return frame.script ? `${frame.script}:${frame.line}:${frame.column}` : none;
}

/** The same of a thread in jsstack's answer, from the function that left; all where none did. */
export function read(thread) {
  const frames = thread.frames.filter((frame) => ['js', 'wasm', 'builtin'].includes(frame.kind))
    .map((frame) => [frame.name, place(frame, '<anonymous>')]);
  const first = frames.findIndex(([name]) => /(^|[. ])leave$/.test(name));
  return [...frames.slice(Math.max(first, 0)), ...thread.async.map((frame) => [`async ${frame.name}`, place(frame, '')])];
}

/** The main isolate's stack in a core; `options` go to the command. */
export async function stackOf(core, ...options) {
  const { stdout } = await run(binary, ['jsstack', core, '--json', '--isolate', '0', ...options], { maxBuffer: 1 << 28 });
  return JSON.parse(stdout).threads[0];
}

/** The innermost frame has gone on since the trace was made: its name alone is compared. */
export function assertEqual(thread, stack, name) {
  const [mine, theirs] = [read(thread), printed(stack)];
  assert.deepEqual([mine[0]?.[0], ...mine.slice(1)], [theirs[0][0], ...theirs.slice(1)], name);
}

/** The core in a folder, or the file that it is itself. */
export function coreIn(place) {
  if (!statSync(place).isDirectory()) return place;
  const name = readdirSync(place).find((one) => one.startsWith('core'));
  return name && join(place, name);
}

export const pattern = readFileSync('/proc/sys/kernel/core_pattern', 'utf8').trim();

/** A core by the kernel of a program that ends itself; the notes that it left. */
export function died(node, how, scenario, flags = []) {
  const place = folder();
  const done = spawnSync('sh', ['-c', 'ulimit -c unlimited; exec "$0" "$@"', node.path, ...flags, program, '.', how, scenario],
    { cwd: place, encoding: 'utf8', maxBuffer: 1 << 28 });
  return { core: coreIn(place), notes: JSON.parse(done.stdout.split('\n')[0]), signal: done.signal };
}

/** A core by gcore of a program that waits, and the note that it left; or why there is none. */
export async function waiting(node, scenario) {
  if (spawnSync('gcore', ['-v']).error) return { none: 'gcore is not installed (gdb)' };
  const place = folder();
  const child = spawn(node.path, [program, place, 'wait', scenario], { stdio: ['ignore', 'pipe', 'inherit'] });
  try {
    const [note] = JSON.parse(await firstLine(child));
    const done = spawnSync('gcore', ['-o', join(place, 'core'), String(child.pid)], { encoding: 'utf8' });
    const core = join(place, `core.${child.pid}`);
    return existsSync(core) ? { core, note } : { none: `gcore could not: ${done.stderr.trim().split('\n').pop()}` };
  } finally {
    child.kill('SIGKILL');
  }
}

/** What a process prints up to the end of its first line, or all. */
export async function firstLine(child) {
  let text = '';
  for await (const chunk of child.stdout) {
    text += chunk;
    if (text.includes('\n')) break;
  }
  return text;
}
