// What a core tells of JavaScript's stack when the process died in the middle of something else: a garbage collection, the
// end of the heap, an addon, a worker, an exception that nobody caught (__test__/programs/dying.cjs). V8's own traces of
// the same place are the referee.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { folder, json, noBinary, root, stillcore } from './support/autopsy.mjs';
import { nodes } from './support/nodes.mjs';
import { coreIn, pattern, printed, read, stackOf } from './support/stacks.mjs';

const dying = join(root, '__test__', 'programs', 'dying.cjs');

/** JavaScript's frames of a thread, from the first of a name on: of the first, which has gone on, the name alone. */
function from(thread, name) {
  const frames = read(thread);
  const first = frames.findIndex((frame) => frame[0] === name);
  return [name, ...(first < 0 ? [] : frames.slice(first + 1))];
}

/** A core of dying.cjs by the kernel; what it printed. `until` (ms) ends it, where it does not end itself. */
async function deathOf(node, how, flags = [], until) {
  const place = folder();
  const child = spawn('sh', ['-c', 'ulimit -c unlimited; exec "$0" "$@"', node.path, ...flags, dying, how], { cwd: place, stdio: ['ignore', 'pipe', 'pipe'] });
  const ended = once(child, 'exit');
  try {
    let [text, error] = ['', ''];
    child.stderr.on('data', (chunk) => { error += chunk; });
    for await (const chunk of child.stdout) {
      text += chunk;
      if (until && text.includes('\n')) break;
    }
    if (until) {
      await setTimeout(until);
      child.kill('SIGABRT');
    }
    await ended;
    const [name, ...rest] = printed(JSON.parse(text.split('\n')[0]).stack);
    const core = coreIn(place);
    assert.ok(core, `the kernel left no core: ${error}`);
    return { core, error, note: [name[0], ...rest], place: name[1] };
  } finally {
    child.kill('SIGKILL');
  }
}

for (const node of await nodes()) {
  const skip = node.skip || noBinary || (pattern === 'core' ? false : `core_pattern is ${pattern}, not core`);

  for (const how of ['uncaught', 'uncaughtLater']) {
    test(`an exception that nobody catches (${how}) has the trace that V8 aborts with, on ${node.label}`, { skip }, async () => {
      const { core, error } = await deathOf(node, how, ['--abort-on-uncaught-exception']);
      const told = printed(/\nFROM\n([^]*?)(\n\n|$)/.exec(error)[1].replace(/^/gm, '    at '));
      assert.ok(told.length >= 3, error);
      const thread = await stackOf(core);
      assert.deepEqual(read(thread), told);
      assert.equal(`Uncaught ${thread.thrown.value.split('\n')[0]}`, /^Uncaught .*/m.exec(error)[0]);
    });
  }

  test(`what was thrown is told of a rejection that nobody handles, and of an error whose handler aborts, on ${node.label}`, { skip }, async () => {
    const rejected = await deathOf(node, 'rejected', ['--abort-on-uncaught-exception']);
    const trace = /^RangeError: rejected\n( {4}at .*\n)+/m.exec(rejected.error)[0].trim().split(/\n */);
    const lines = stillcore('jsstack', rejected.core).split('\n').slice(1, 1 + trace.length).map((line) => line.trim().replace(/^thrown: 0x[0-9a-f]+ /, ''));
    assert.deepEqual(lines, trace);
    const { core, note } = await deathOf(node, 'handled');
    const thread = await stackOf(core);
    assert.match(thread.thrown.value, /^TypeError: handled\b/);
    assert.deepEqual(from(thread, note[0]), note);
  });

  test(`the end of the heap has its stack, on ${node.label}`, { skip }, async () => {
    const { core, error, note, place } = await deathOf(node, 'memory', ['--max-old-space-size=20']);
    assert.match(error, /FATAL ERROR: .* JavaScript heap out of memory/);
    const thread = await stackOf(core);
    assert.deepEqual(from(thread, note[0]), note);
    // Optimised code tells of an allocation no more than a position; it is in the loop, on the line after the note's.
    const line = Number(/:(\d+):\d+$/.exec(place)[1]) + 1;
    assert.equal(thread.frames.find(({ name }) => name === note[0]).line, line);
  });

  test(`a kill inside a garbage collection leaves JavaScript's stack below it, on ${node.label}`, { skip }, async () => {
    let inside = 0;
    const ways = [['compact', ['--expose-gc'], 60], ['scavenge', [], 130], ['scavenge', ['--stress-compaction'], 170]];
    // The kill comes by the clock: on a busy machine all three may come between two collections. Then they are tried again.
    for (let tried = 0; tried < 4 * ways.length && (tried < ways.length || inside === 0); tried++) {
      const [how, flags, until] = ways[tried % ways.length];
      const { core, note } = await deathOf(node, how, flags, until);
      const thread = await stackOf(core);
      if (thread.frames.some(({ kind, name }) => kind === 'native' && /Heap::(Perform|Collect)/.test(name))) inside++;
      assert.deepEqual(from(thread, note[0]), note, how);
      assert.ok(thread.frames.filter(({ kind }) => kind === 'js').every(({ tier }) => tier), how);
    }
    assert.ok(inside > 0, 'at least one of them was inside');
  });

  test(`a crash in an addon has the stack that called it, on ${node.label}`, { skip }, async (t) => {
    const headers = join(dirname(dirname(node.path)), 'include', 'node');
    if (!existsSync(headers)) return t.skip(`no headers of Node at ${headers}`);
    const addon = join(folder(), 'crash.node');
    const built = spawnSync('cc', ['-shared', '-fPIC', '-O1', `-I${headers}`, '-o', addon, join(root, '__test__', 'native', 'crash.c')], { encoding: 'utf8' });
    if (built.error) return t.skip(`no C compiler: ${built.error.message}`);
    assert.equal(built.status, 0, built.stderr);
    const { core, note } = await deathOf(node, addon);
    const thread = await stackOf(core);
    assert.match(thread.frames[0].name, /^crash\+0x/);
    assert.deepEqual(from(thread, note[0]), note);
  });

  test(`a worker has its own stack when the process is killed, on ${node.label}`, { skip }, async () => {
    const { core, note } = await deathOf(node, 'worker');
    const { threads } = json('jsstack', core);
    assert.equal(threads.length, 2);
    assert.deepEqual(from(threads.find(({ isolate }) => isolate === 1), note[0]), note);
  });
}
