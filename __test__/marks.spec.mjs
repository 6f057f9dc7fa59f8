// V8's pages are kept out of forks (MADV_DONTFORK, `dc` in smaps), but for the instant of a capture. Afterwards all of
// them are again, and nothing else is: child processes have all that they need. (How fast they are begun `npm run bench` measures.)
import assert from 'node:assert/strict';
import { closeSync, openSync, readSync } from 'node:fs';
import test from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { quickFolder, waitFor } from './support/files.mjs';
import { buildMapper } from './support/mapper.mjs';
import { nodes } from './support/nodes.mjs';
import { asBefore, mappings, startSubject, stateOf } from './support/subject.mjs';

// What is tested here is the kernel's way.
process.env.STILLCORE_METHOD = 'kernel';

const mapper = buildMapper();

/** Whether all of a range, `start-end` in hexadecimal, is kept out of forks: true, false, or 'partly'. */
function markOf(subject, range) {
  const [start, end] = range.split('-').map((address) => Number.parseInt(address, 16));
  const parts = mappings(subject.pid).filter((one) => one.start < end && start < one.end);
  assert.ok(parts.length > 0, `${range} is not mapped`);
  const marks = new Set(parts.map(({ marked }) => marked));
  return marks.size === 1 ? parts[0].marked : 'partly';
}

/** Loads the mapper in a subject, and gives its `map`. */
async function loadMapper(subject) {
  await subject.run(({ kept }, path) => process.dlopen((kept.mapper = { exports: {} }), path), mapper);
  return (request) => subject.run(({ kept }, request) => kept.mapper.exports.map(request), request);
}

for (const node of await nodes()) {
  test(`V8's marks on ${node.label}`, { skip: node.skip }, async (t) => {
    const directory = quickFolder(t);
    const subject = await startSubject(t, node, { cwd: directory });

    await t.test('are all back and on nothing else after captures, whole or given up', async () => {
      const captures = {
        first: ({ createCore }) => createCore(),
        second: ({ createCore }) => createCore(),
        'given up at once': ({ createCore }) => {
          const abort = new AbortController();
          const promise = createCore({ signal: abort.signal });
          abort.abort();
          return promise.catch(({ code }) => code);
        },
        'given up soon': ({ createCore }) => createCore({ signal: AbortSignal.timeout(3) }).catch(({ code }) => code),
        'out of time': ({ createCore }) => createCore({ timeout: 1 }).catch(({ code }) => code),
        'five at once': ({ createCore }) => Promise.all(Array.from({ length: 5 }, () => createCore())),
      };
      for (const [name, capture] of Object.entries(captures)) {
        const before = stateOf(subject, directory);
        assert.ok(before.mappings.filter(({ marked }) => marked).length > 20, `${name}: few marks to begin with`);
        const answer = await subject.run(capture);
        assert.ok(/given up/.test(name) ? answer === 'ABORT_ERR' : name !== 'out of time' || answer === 'ERR_CORE_TIMEOUT', `${name}: ${answer}`);
        await asBefore(subject, before).catch((error) => assert.fail(`${name}: ${error.message}`));
      }
    });

    await t.test('stay where V8 has emptied its pages, and do not pass to what took their place', async () => {
      const map = await loadMapper(subject);
      const sizes = [262_144, 524_288, 1_048_576];
      const ranges = {};
      for (const [i, what] of ['keep', 'discard', 'rewrite', 'replace', 'around'].entries()) {
        ranges[what] = [];
        for (const size of sizes) ranges[what].push(await map(`marked:${size}`));
        assert.ok(ranges[what].every((range) => markOf(subject, range) === true), `${i}`);
      }
      const foreign = await map('anonymous:1048576');
      for (let round = 0; round < 3; round++) {
        // In the very statement behind the fork, and in the same instant as the marks are put back.
        await subject.run(async ({ createCore, kept }, ranges) => {
          const promise = createCore();
          const start = performance.now();
          for (const [what, list] of Object.entries(ranges)) {
            if (what === 'keep') continue;
            for (const range of list) kept.mapper.exports.map(`${what}:${range}`);
            while (performance.now() - start < 1);
          }
          await promise;
        }, round === 0 ? ranges : { discard: ranges.discard, rewrite: ranges.rewrite });
        const marks = Object.fromEntries(Object.entries(ranges).map(([what, list]) => [what, list.map((range) => markOf(subject, range))]));
        const all = (mark) => sizes.map(() => mark);
        assert.deepEqual(marks, { keep: all(true), discard: all(true), rewrite: all(true), replace: all(false), around: all(false) });
        assert.equal(markOf(subject, foreign), false);
      }
    });

    await t.test('come to nothing that other threads map meanwhile', async () => {
      const map = await loadMapper(subject);
      await map('churn:on');
      for (let round = 0; round < 8; round++) {
        await subject.run(({ createCore }, round) => {
          const abort = new AbortController();
          const promise = createCore({ signal: abort.signal }).catch(({ code }) => code);
          if (round % 2 === 1) abort.abort();
          return promise;
        }, round);
      }
      await map('churn:off');
      await sleep(50);
      await waitFor(() => mappings(subject.pid).some(({ marked }) => marked), { what: 'the marks' });
      // Memory of the churning thread is full of one byte.
      const memory = openSync(`/proc/${subject.pid}/mem`);
      t.after(() => closeSync(memory));
      const theirs = mappings(subject.pid).filter(({ start, name }) => {
        const bytes = Buffer.alloc(64);
        try {
          return name === '' && readSync(memory, bytes, 0, 64, start + 65_536) === 64 && bytes.every((byte) => byte === 0xa7);
        } catch {
          return false;
        }
      });
      assert.ok(theirs.length > 5, `only ${theirs.length} of its mappings are left`);
      assert.deepEqual(theirs.filter(({ marked }) => marked), []);
    });
  });
}
