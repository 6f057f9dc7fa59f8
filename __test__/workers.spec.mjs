// A capture that begins in a worker: its instant is the worker's, and the core has the memory and the threads of all.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import test from 'node:test';
import { fileURLToPath } from 'node:url';
import { hasText, quickFolder } from './support/files.mjs';
import { nodes } from './support/nodes.mjs';
import { asBefore, startSubject, stateOf } from './support/subject.mjs';

const pattern = readFileSync('/proc/sys/kernel/core_pattern', 'utf8').trim();
const noKernelWay = /^[|@/]/.test(pattern) ? `kernel.core_pattern is '${pattern}' here` : false;

const library = fileURLToPath(new URL('../index.js', import.meta.url));

/** What the worker does: strings that nobody has written down anywhere else. */
function inWorker() {
  const { parentPort, workerData: { library, directory, method, seed } } = require('node:worker_threads');
  const { capture } = require(library);
  const kept = { text: ['worker', seed, 'begun'].join('-') };
  const promise = capture({ directory, method, what: 'core' });
  kept.text = ['worker', seed, 'gone on'].join('-');
  promise.then(
    ({ path, threads }) => parentPort.postMessage({ path, threads, text: kept.text }),
    (error) => parentPort.postMessage({ error: `${error.code}: ${error.message}` }),
  );
}

for (const node of await nodes()) {
  for (const method of ['kernel', 'direct']) {
    test(`a capture from a worker of ${node.label}, ${method}`, { skip: node.skip || (method === 'kernel' && noKernelWay) }, async (t) => {
      const directory = quickFolder(t);
      const subject = await startSubject(t, node);
      // V8 takes one mark off by itself when the first worker begins.
      await subject.run(({ require }) => new Promise((resolve) => new (require('node:worker_threads').Worker)('0', { eval: true }).on('exit', resolve)));
      const before = stateOf(subject, directory);
      const seed = Math.random().toString(36).slice(2);
      const told = await subject.run(({ require, kept }, source, data) => new Promise((resolve, reject) => {
        const { Worker } = require('node:worker_threads');
        kept.text = ['main', data.seed, 'here'].join('-');
        const worker = new Worker(`(${source})()`, { eval: true, workerData: data });
        let answer;
        worker.on('message', (message) => { answer = message; }).on('error', reject).on('exit', () => resolve(answer));
      }), String(inWorker), { library, directory, method, seed });
      assert.equal(told.error, undefined);
      assert.equal(told.threads.captured, told.threads.total);
      assert.ok(told.threads.total >= 10, `${told.threads.total} threads`);
      assert.ok(hasText(told.path, `worker-${seed}-begun`), 'the worker as it was in the call');
      assert.ok(hasText(told.path, `main-${seed}-here`), 'the memory of the main thread');
      assert.ok(!hasText(told.path, `worker-${seed}-gone on`), 'nothing of what the worker did afterwards');
      await asBefore(subject, { ...before, files: [told.path.split('/').at(-2)] }, directory);
    });
  }
}
