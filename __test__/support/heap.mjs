// Runs programs/heap.cjs, which takes a core of itself with markers in every kind of memory, and looks for them.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { fileURLToPath } from 'node:url';
import { runNode } from './run.mjs';
import { Finder, MarkerFinder, scan } from './scan.mjs';

const program = fileURLToPath(new URL('../programs/heap.cjs', import.meta.url));
const execArgv = ['--expose-gc', '--allow-natives-syntax', '--expose-externalize-string', '--min-semi-space-size=16'];

/** What the program told (see there), its pid, seed and command line. `what` is 'core' or 'archive'. */
export async function captureHeap(node, what, directory, { more = [], ...options } = {}) {
  const seed = randomBytes(6).toString('hex');
  const args = [directory, what, seed, ...more];
  const { code, stdout, stderr, pid } = await runNode(node, program, { execArgv, args, ...options });
  assert.equal(stderr, '');
  assert.equal(code, 0);
  return { ...JSON.parse(stdout), pid, seed, command: [node.path, ...execArgv, program, ...args] };
}

/** Checks that the bytes of a core hold all that was in the process in the instant of the call, and nothing later. */
export async function checkHeap(told, bytes) {
  const markers = new MarkerFinder(told.seed);
  const slot = new Finder({ before: Buffer.from(told.before, 'hex'), after: Buffer.from(told.after, 'hex') });
  await scan(bytes, [markers, slot]);

  assert.deepEqual(markers.counts(told.counts), told.counts);
  assert.ok(slot.found.has('before'), 'bytes of a Buffer as they were just before the call');
  assert.ok(!slot.found.has('after'), 'bytes of a Buffer as they were made just after the call');
  assert.equal(markers.count('double', 10), 0, 'a number set just after the call');
  assert.equal(markers.count('text', 'af'), 0, 'a string set just after the call');
}
