// The stacks that stillcore reads from a core equal the traces that V8 printed in the living process: every frame, name,
// line and column, of every kind of call (__test__/programs/stacks.cjs), on every supported Node.
import assert from 'node:assert/strict';
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { test } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { binary, folder, noBinary, stillcore } from './support/autopsy.mjs';
import { nodes } from './support/nodes.mjs';
import { assertEqual, coreIn, died, firstLine, pattern, printed, program, read, stackOf, waiting } from './support/stacks.mjs';

for (const node of await nodes()) {
  // The older patches of each line read the same layouts; autopsy.spec.mjs has them.
  const skip = node.skip || noBinary;

  for (const group of ['sync', 'wasm', 'optimised', 'asynchronous']) {
    test(`stacks of ${group} calls equal V8's, on ${node.label}`, { skip }, async () => {
      const output = execFileSync(node.path, [program, folder(), 'direct', group], { encoding: 'utf8', maxBuffer: 1 << 28 });
      const notes = JSON.parse(output.trim().split('\n').pop());
      assert.ok(notes.length >= { sync: 156, wasm: 15, optimised: 14, asynchronous: 57 + 6 * (node.major >= 24) }[group], `${notes.length} scenarios`);
      const tiers = new Set();
      const next = async () => {
        for (let note = notes.shift(); note; note = notes.shift()) {
          const thread = await stackOf(coreIn(note.core));
          for (const frame of thread.frames) if (frame.tier) tiers.add(frame.inlined ? 'inlined' : frame.tier);
          assertEqual(thread, note.stack, note.name);
        }
      };
      await Promise.all([next(), next()]);
      if (group === 'optimised') assert.ok(tiers.has('inlined'), 'something was inlined');
      if (group === 'wasm') assert.ok(tiers.has('liftoff') && tiers.has('turbofan'), 'both compilers of WebAssembly');
      if (group === 'wasm' && node.major >= 24) assert.ok(tiers.has('inlined'), 'a function of WebAssembly was inlined');
    });
  }

  test(`an inlined function's receiver and arguments are told, on ${node.label}`, { skip }, async () => {
    const output = execFileSync(node.path, [program, folder(), 'direct', 'optimised.inlinedMethods', 'optimised.inlinedFewer'], { encoding: 'utf8', maxBuffer: 1 << 28 });
    const [methods, fewer] = JSON.parse(output.trim().split('\n').pop());
    const frames = (await stackOf(coreIn(methods.core))).frames;
    const sum = frames.find((frame) => frame.name === 'Point.sum');
    assert.match(sum.this.value, /^\[Point 0x/);
    assert.equal(sum.arguments[0].value, '1');
    const called = (await stackOf(coreIn(fewer.core))).frames.find((frame) => frame.name === 'fewer');
    assert.deepEqual(called.arguments.slice(0, 2).map(({ value }) => value), ['1', '1']);
    const verbose = execFileSync(binary, ['jsstack', coreIn(methods.core), '-v', '-n', '0'], { encoding: 'utf8' });
    assert.match(verbose, /arg1 \(extra\): 1/);
    assert.match(verbose, /var note: \[Object 0x/);
  });

  for (const [how, scenario, flags] of [
    ['abort', 'optimised.inlinedChain', []],
    ['segv', 'optimised.inlinedMethods', []],
    ['segv', 'sync.methods', []],
    ['throw', 'sync.methods', ['--abort-on-uncaught-exception']],
  ]) {
    test(`a core by the kernel, ${how} in ${scenario}, has V8's stack, on ${node.label}`, { skip }, async (t) => {
      if (pattern !== 'core') return t.skip(`core_pattern is ${pattern}, not core`);
      const { core, notes } = died(node, how, scenario, flags);
      if (!core) return t.skip('the kernel left no core');
      assertEqual(await stackOf(core), notes[0].stack, scenario);
    });
  }

  // Without Liftoff nothing counts calls, and Node 26 aborts when it looks up these counts to inline.
  const optimising = ['--no-liftoff', ...(node.major >= 24 ? ['--no-wasm-inlining'] : [])];
  for (const [tier, flags] of [['liftoff', []], ['turbofan', optimising]]) {
    test(`a loop of WebAssembly's ${tier} that is killed is told, on ${node.label}`, { skip }, async (t) => {
      if (pattern !== 'core') return t.skip(`core_pattern is ${pattern}, not core`);
      const place = folder();
      const child = spawn('sh', ['-c', 'ulimit -c unlimited; exec "$0" "$@"', node.path, ...flags, program, '.', 'go', 'endless.wasm'], { cwd: place, stdio: ['ignore', 'pipe', 'inherit'] });
      const ended = once(child, 'exit');
      try {
        const text = await firstLine(child);
        await setTimeout(50); // Now it is in the loop.
        child.kill('SIGABRT');
        await ended;
        const core = coreIn(place);
        if (!core) return t.skip('the kernel left no core');
        const thread = await stackOf(core);
        assert.equal(thread.frames.find((frame) => frame.wasm)?.tier, tier);
        const [mine, theirs] = [read(thread), printed(JSON.parse(text)[0].stack).slice(1)];
        assert.match(mine[0][1], /:wasm-function\[1\]:0x/);
        assert.deepEqual([mine[0][0], ...mine.slice(1)], [theirs[0][0], ...theirs.slice(1)]);
      } finally {
        child.kill('SIGKILL');
      }
    });
  }

  test(`a process that ran out of memory says so, on ${node.label}`, { skip }, (t) => {
    if (pattern !== 'core') return t.skip(`core_pattern is ${pattern}, not core`);
    const place = folder();
    const leak = 'const list = []; (function leaks() { for (;;) list.push({}) })()';
    spawnSync('sh', ['-c', 'ulimit -c unlimited; exec "$0" "$@"', node.path, '--max-old-space-size=20', '-e', leak], { cwd: place });
    const core = coreIn(place);
    if (!core) return t.skip('the kernel left no core');
    const lines = stillcore('jsstack', core).split('\n');
    const reason = lines.findIndex((line) => /^native: .*V8::FatalProcessOutOfMemory\(/.test(line));
    assert.ok(reason > 0 && reason < lines.findIndex((line) => /^js: +leaks /.test(line)), lines.join('\n'));
  });

  test(`a core by the kernel's way has V8's stack, on ${node.label}`, { skip }, async (t) => {
    if (pattern !== 'core') return t.skip(`core_pattern is ${pattern}, not core`);
    const output = execFileSync('sh', ['-c', 'ulimit -c unlimited; exec "$0" "$@"', node.path, program, folder(), 'kernel', 'sync.inherited'], { encoding: 'utf8', maxBuffer: 1 << 28 });
    const [note] = JSON.parse(output.trim().split('\n').pop());
    assertEqual(await stackOf(coreIn(note.core)), note.stack, note.name);
  });

  test(`a core by gcore has V8's stack, on ${node.label}`, { skip }, async (t) => {
    const { core, note, none } = await waiting(node, 'sync.sort');
    if (none) return t.skip(none);
    assertEqual(await stackOf(core), note.stack, note.name);
  });
}
