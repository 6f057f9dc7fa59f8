// A process that waits, on every supported Node: nothing runs, and what it waits for is what is asked of its core.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { coreOf, json, noBinary, root, stillcore, tried } from './support/autopsy.mjs';
import { nodes } from './support/nodes.mjs';

const program = join(root, '__test__', 'programs', 'idle.cjs');
const cores = new Map();
function idle(node) {
  if (!cores.has(node.major)) cores.set(node.major, coreOf(node, program).core);
  return cores.get(node.major);
}

for (const node of await nodes()) {
  const skip = node.skip || noBinary;

  test(`handles are told of loops that wait, so garbage is told apart, on ${node.label}`, { skip }, () => {
    const done = tried('findjsobjects', idle(node), '-c', 'IdleHeld', '--json');
    assert.equal(done.stderr, '');
    const { groups } = JSON.parse(done.stdout);
    assert.equal(groups.reduce((sum, { count }) => sum + count, 0), 21);
  });

  test(`who holds something is told by property and index, through V8's stores, on ${node.label}`, { skip }, () => {
    const held = json('findjsinstances', idle(node), 'IdleHeld', '--isolate', '0').instances;
    assert.equal(held.length, 20);
    const asked = held.flatMap((address) => ['-e', `jsfindrefs ${address}`]);
    const answers = stillcore('autopsy', idle(node), '--json', '--isolate', '0', ...asked).trim().split('\n');
    const refs = answers.map((answer) => JSON.parse(answer).map(({ as }) => as));
    assert.deepEqual(refs.flat().filter((as) => as.startsWith('Array')).sort(), held.map((_, index) => `Array[${index}]`).sort());
    const { path } = json('jsfindrefs', idle(node), held[0], '-r', '--isolate', '0');
    const steps = path.map(({ as }) => as);
    assert.ok(steps.some((as) => /^\[\d+\]$/.test(as)) && steps.includes('.held'), JSON.stringify(path));
  });

  test(`pending promises name the functions of then, catch and finally, on ${node.label}`, { skip }, () => {
    const text = stillcore('promises', idle(node));
    for (const [name, line] of [['then(onValue)', 32], ['catch(onError)', 33], ['finally(onEnd)', 34], ['awaitsHeld', 35]]) {
      const at = text.split('\n').find((found) => found.includes(`awaited by ${name} `));
      assert.match(at ?? text, new RegExp(`^0x[0-9a-f]+ awaited by .* .*idle\\.cjs:${line}:\\d+$`));
    }
    assert.doesNotMatch(text, /native code/);
    // Entries are counted, not promises.
    const few = stillcore('promises', idle(node), '--isolate', '0', '-n', '5').trimEnd().split('\n');
    assert.equal(few.length, 5, few.join('\n'));
    assert.match(few[4], /^30 of them, as 0x[0-9a-f]+ awaited by awaitsInCrowd .*idle\.cjs:39:\d+$/);
  });

  test(`promises that nobody can settle any more are told, on ${node.label}`, { skip }, () => {
    const done = tried('promises', idle(node));
    assert.match(done.stderr, /\d+ more that functions await can be settled by nobody any more: promises --lost/);
    const { promises, lost } = json('promises', idle(node), '--lost');
    const ours = promises.filter(({ awaitedBy }) => /^awaitsLost .*idle\.cjs:37:\d+$/.test(awaitedBy[0]?.[0]));
    // A stale word on a stack may seem to hold one.
    assert.ok(ours.length >= 45 && ours.length <= 50 && lost >= ours.length, `${ours.length} of ${lost}`);
  });
}
