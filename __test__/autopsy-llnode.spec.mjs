// llnode on Node 20 as a second referee: the functions on the stack, and how many objects a constructor has made.
//
// Where llnode is wrong, or knows less, is left out: it shows no inlined function, takes some constructors and builtins for no
// function, gives the line where a function begins and an argument too many; in Node 20 it finds no names of classes, and
// objects without a constructor of their own it calls Object, where V8 looks along their prototypes.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { test } from 'node:test';
import { join } from 'node:path';
import { coreOf, folder, json, noBinary, root } from './support/autopsy.mjs';
import { ask, llnode } from './support/llnode.mjs';
import { nodeOf } from './support/nodes.mjs';
import { coreIn, program, stackOf } from './support/stacks.mjs';

const node = await nodeOf(20);
const needed = node.skip || noBinary;
const plugin = needed ? { skip: needed } : await llnode();
const skip = needed || plugin.skip;
const hex = (text) => `0x${BigInt(text).toString(16)}`;

for (const scenario of ['sync.methods', 'sync.sort', 'optimised.inlinedChain', 'asynchronous.awaits']) {
  test(`llnode has the same functions on the stack: ${scenario}`, { skip }, async () => {
    const notes = JSON.parse(execFileSync(node.path, [program, folder(), 'direct', scenario], { encoding: 'utf8', maxBuffer: 1 << 28 }).trim().split('\n').pop());
    assert.equal(notes.length, 1);
    const core = coreIn(notes[0].core);
    const { frames } = await stackOf(core);
    // One a frame of the machine; `<non-function>` is llnode's word where it finds none, and for some builtins of V8's own.
    const all = frames.filter((frame) => frame.function && !frame.inlined);
    // V8's own have a function too, such as the one that runs the microtasks; traces do not show them.
    const shown = all.filter((frame) => frame.kind !== 'internal');
    const theirs = [...(await ask(plugin.path, node.path, core, 'v8 bt')).matchAll(/frame #\d+: .*?(?:fn=(0x[0-9a-f]+)|<non-function>)/g)];
    const known = theirs.filter(([, fn]) => fn).map(([, fn]) => hex(fn));
    const unknown = theirs.length - known.length;
    assert.ok(known.length >= 5 && unknown * 3 < known.length, `${known.length} known, ${unknown} unknown to llnode`);
    assert.deepEqual(all.map((frame) => frame.function).filter((fn) => known.includes(fn)), known);
    const missed = shown.filter((frame) => !known.includes(frame.function)).length;
    assert.ok(missed <= unknown, `llnode has ${missed} of ${shown.length} frames not, and says so of ${unknown}`);
  });
}

test('llnode counts the same objects', { skip }, async () => {
  const { core } = coreOf(node, join(root, '__test__', 'programs', 'scenario.cjs'));
  const { groups } = json('findjsobjects', core, '--all');
  const mine = (name) => groups.filter((group) => group.constructor === name).reduce((sum, group) => sum + group.count, 0);
  const theirs = await ask(plugin.path, node.path, core, 'v8 findjsobjects');
  for (const name of ['PlantedOld', 'Server', 'WritableState', 'Performance']) {
    const row = new RegExp(`^ +(\\d+) +\\d+ ${name}$`, 'm').exec(theirs);
    assert.ok(row, `${name} in ${theirs}`);
    assert.equal(mine(name), Number(row[1]), name);
  }
});
