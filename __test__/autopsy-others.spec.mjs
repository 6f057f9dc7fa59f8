// Nodes beside the official ones of today: Node 18, and Debian's own builds, which are PIE, stripped, and have V8 in a library.
// What is read of them is compared with what the processes said of themselves, as for the others.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readdirSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { folder, json, noBinary, root, stillcore, tried } from './support/autopsy.mjs';
import { debianNodes } from './support/debian.mjs';
import { pastNodes } from './support/nodes.mjs';
import { assertEqual, coreIn, died, pattern, program as stacks, stackOf, waiting } from './support/stacks.mjs';

const program = join(root, '__test__', 'programs', 'scenario.cjs');
const large = { encoding: 'utf8', maxBuffer: 1 << 28 };
const debian = await debianNodes();

/** One core of the scenario for each Node, made when it is first asked for. */
const scenarios = new Map();
function scenario(node) {
  if (!scenarios.has(node.label)) {
    const place = folder();
    const said = JSON.parse(execFileSync(node.path, [program, place, 'direct', 'workers=2'], large));
    const core = join(place, 'scenario.core');
    renameSync(join(place, readdirSync(place).find((name) => name.startsWith('core')), 'core'), core);
    scenarios.set(node.label, { core, said });
  }
  return scenarios.get(node.label);
}

for (const node of [...await pastNodes(), ...debian]) {
  const skip = node.skip || noBinary;
  const files = node.sysroot ? ['--sysroot', node.sysroot] : [];
  const ask = (command, core, ...args) => json(command, core, ...args, ...files);

  // Of Debian's builds it is the same V8 as of the official ones: one of each kind will do.
  for (const group of ['optimised', ...(node.sysroot ? ['asynchronous.all'] : ['asynchronous']), 'sync.sort', 'sync.evaluated']) {
    test(`stacks equal V8's (${group}), on ${node.label}`, { skip }, async () => {
      const notes = JSON.parse(execFileSync(node.path, [stacks, folder(), 'direct', group], large).trim().split('\n').pop());
      assert.ok(notes.length >= ({ optimised: 14, asynchronous: 20 }[group] ?? 1), `${notes.length} scenarios`);
      const tiers = new Set();
      for (const note of notes) {
        const thread = await stackOf(coreIn(note.core), ...files);
        for (const frame of thread.frames) if (frame.tier) tiers.add(frame.inlined ? 'inlined' : frame.tier);
        assertEqual(thread, note.stack, note.name);
      }
      if (group === 'optimised') assert.ok(tiers.has('turbofan') && tiers.has('inlined'), [...tiers].join());
    });
  }

  test(`builtins have their names, on ${node.label}`, { skip }, () => {
    const { core } = scenario(node);
    const stack = stillcore('jsstack', core, '-a', '--isolate', '0', ...files);
    for (const name of ['JSEntry', 'JSEntryTrampoline [InternalFrame]', 'Array.map']) assert.ok(stack.includes(name), `${name} in ${stack}`);
    assert.doesNotMatch(stack, /^internal:\S+ \S+ \[/m, 'no frame of V8 is without a name');
  });

  test(`a core by abort has V8's stack, on ${node.label}`, { skip }, async (t) => {
    if (pattern !== 'core') return t.skip(`core_pattern is ${pattern}, not core`);
    for (const [how, flags] of [['abort', []], ['throw', ['--abort-on-uncaught-exception']]]) {
      const { core, notes } = died(node, how, 'sync.methods', flags);
      if (!core) return t.skip('the kernel left no core');
      assertEqual(await stackOf(core, ...files), notes[0].stack, how);
    }
  });

  test(`a core by gcore has V8's stack, on ${node.label}`, { skip }, async (t) => {
    const { core, note, none } = await waiting(node, 'sync.sort');
    if (none) return t.skip(none);
    assertEqual(await stackOf(core, ...files), note.stack, note.name);
  });

  test(`the heap is walked whole and counted exactly, on ${node.label}`, { skip }, () => {
    const { core, said } = scenario(node);
    const layout = ask('layout', core);
    assert.equal(layout.gaps + layout.missing, 0, 'all of the heap could be walked');
    const { groups } = ask('findjsobjects', core, '--isolate', '0');
    const count = (name, property) => groups.filter((group) => group.constructor === name && group.properties.includes(property))
      .reduce((sum, group) => sum + group.count, 0);
    const counts = { PlantedPoint: count('PlantedPoint', 'x'), PlantedChild: count('PlantedChild', 'label'), PlantedOld: count('PlantedOld', 'name') };
    assert.deepEqual(counts, said.counts);
    const isolates = ask('isolates', core);
    assert.equal(isolates.length, 3);
    const workers = [1, 2].map((isolate) => ask('findjsinstances', core, 'WorkerThing', '--isolate', String(isolate)).count);
    assert.deepEqual(workers.sort((a, b) => a - b), [100, 200]);
  });

  test(`values are printed as the process did, on ${node.label}`, { skip }, () => {
    const { core, said } = scenario(node);
    const [holder] = ask('findjsinstances', core, 'ScenarioHolder', '--isolate', '0').instances;
    const plain = ['undefinedValue', 'smi', 'double', 'negativeZero', 'bigint', 'negativeBigint', 'twoByte', 'cons', 'sliced', 'symbol',
      'doubles', 'frozen', 'nullPrototype', 'shaped', 'old', 'date', 'regexp', 'buffer', 'uint8', 'int16', 'float64', 'float32',
      'bigUint64', 'clamped', 'boxedNumber', 'boxedString', 'boxedSymbol', 'indexed', 'holeyDoubles'];
    const commands = plain.flatMap((name) => ['-e', `jsprint ${holder} values.${name} -l 100 -d 1`]);
    const mine = stillcore('autopsy', core, ...files, ...commands).trimEnd().replace(/(\d) more characters$/gm, '$1 more characters');
    assert.equal(mine, plain.map((name) => said.properties[name]).join('\n'));
    const value = (name) => stillcore('jsprint', core, holder, `values.${name}`, ...files).trimEnd();
    assert.match(value('child'), /^PlantedChild \{ #secret: 'private field', x: 7, y: -7, label: 'child 7' \}$/);
    assert.match(value('map'), /^Map\(3\) \{[^]*'one' => 1[^]*NaN => 'nan'/);
    assert.match(value('weakMap'), /=> 'weak value'/);
    assert.match(value('rejected'), /<rejected>: Error: rejected on purpose\n/);
    assert.match(value('generator'), /suspended at .*scenario\.cjs:\d+:\d+/);
    assert.match(value('proxy'), /\[\[target\]\]/);
  });

  test(`what Node keeps is told, on ${node.label}`, { skip }, () => {
    const { core, said } = scenario(node);
    const info = ask('nodeinfo', core);
    assert.deepEqual([info.version, info.argv, info.pid], [said.version, said.argv, said.pid]);
    assert.ok(info.uptime > 0 && info.uptime < 600, `${info.uptime} s`);
    assert.ok(ask('handles', core, '--isolate', '0').some((handle) => handle.class === 'TCP' && handle.type === 'tcp' && handle.active));
    const timers = ask('timers', core, '--isolate', '0');
    assert.ok(timers.some((timer) => timer.repeat === 1e6 && timer.callback.text.includes('tick')));
    const chains = ask('promises', core, '--isolate', '0').promises.flatMap((promise) => promise.awaitedBy);
    assert.ok(chains.some((chain) => chain[0]?.startsWith('innermostAwait') && chain[2]?.startsWith('outermostAwait')), JSON.stringify(chains));
    assert.equal(ask('modules', core, '--js').filter(({ name }) => name === program).length, 3);
    const [holder] = ask('findjsinstances', core, 'ScenarioHolder', '--isolate', '0').instances;
    const closure = ask('jsprint', core, holder, 'closure').closure.address;
    assert.match(stillcore('jssource', core, closure, '-n', '0', ...files), /plantedClosure/);
    assert.ok(ask('jsclosure', core, closure).some(({ name, value }) => name === 'captured' && value.text === "'captured string'"));
    assert.match(stillcore('jsfindrefs', core, holder, '-r', ...files), /^root: /);
    assert.match(stillcore('heap', core, ...files), /isolate 0 old_space +\d/);
  });

  test(`what a build lacks is said, on ${node.label}`, { skip }, () => {
    const { core } = scenario(node);
    const { stderr } = tried('isolates', core, ...files);
    assert.equal(/Node 18 is read by the layout of Node 20/.test(stderr), node.major === 18, stderr);
    if (!node.sysroot) return;
    // Without the files of that system the binary is missing, and that is what is said.
    const without = tried('jsstack', core, '--sysroot', folder());
    assert.notEqual(without.status, 0);
    assert.match(without.stderr, /library that has V8 .* was not found: .*libnode\.so\.\d+ with build-id .*\(--sysroot DIR\)/);
    // The program alone is not enough: V8 is in its library.
    const alone = tried('autopsy', join(node.sysroot, 'usr/bin/node'), core, '--sysroot', folder(), '-e', 'jsstack');
    assert.match(alone.stderr, /library that has V8 .*libnode\.so/);
  });
}
