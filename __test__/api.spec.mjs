// The two functions as callers see them: their forms, defaults, arguments, events, and their end by an AbortSignal.
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readdirSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import test from 'node:test';
import { root } from '../scripts/workspace.mjs';
import { quickFolder } from './support/files.mjs';
import { nodes } from './support/nodes.mjs';
import { runNode } from './support/run.mjs';
import { asBefore, startSubject, stateOf } from './support/subject.mjs';

// What is tested here is the kernel's way; a test below waits for the file that the kernel writes.
process.env.STILLCORE_METHOD = 'kernel';

const index = join(root, 'index.js');
const CORE = /^core_\d{8}\.\d{6}\.\d+\.\d{3}\/core$/;
const ARCHIVE = /^core_\d{8}\.\d{6}\.\d+\.\d{3}\.tar\.gz$/;

for (const node of await nodes()) {
  test(`the API on ${node.label}`, { skip: node.skip }, async (t) => {
    const directory = quickFolder(t);
    const subject = await startSubject(t, node, { cwd: directory });
    const relative = (path) => path.slice(directory.length + 1);

    await t.test('takes a callback, options and a callback, or neither; and leaves the callback its context', async () => {
      const answers = await subject.run(async ({ createCore, collectCore, require }, directory) => {
        const { AsyncLocalStorage } = require('node:async_hooks');
        const storage = new AsyncLocalStorage();
        const answers = [];
        const called = (call) => new Promise((resolve) => {
          const answer = { calls: 0, early: false };
          let returned = false;
          answers.push(answer);
          storage.run(`context ${answers.length}`, () => {
            answer.gave = typeof call((...args) => {
              answer.calls += 1;
              answer.early ||= !returned;
              answer.args = args;
              answer.context = storage.getStore();
              setTimeout(resolve, 20);
            });
          });
          returned = true;
        });
        await called((callback) => createCore(callback));
        await called((callback) => createCore({ directory }, callback));
        await called((callback) => createCore(undefined, callback));
        await called((callback) => collectCore(callback));
        await called((callback) => createCore({ directory: '/nowhere' }, callback));

        const awaited = async (call) => {
          const promise = call();
          const path = await promise;
          answers.push({ isPromise: promise instanceof Promise, args: [null, path], context: storage.getStore() });
        };
        await storage.run('context 6', () => awaited(() => createCore()));
        await storage.run('context 7', () => awaited(() => createCore({ timeout: Infinity, stallTimeout: Infinity, signal: undefined })));
        return answers;
      }, directory);

      assert.deepEqual(answers.map(({ context }) => context), [1, 2, 3, 4, 5, 6, 7].map((n) => `context ${n}`));
      const failed = answers.splice(4, 1)[0];
      for (const { args, ...answer } of answers) {
        const [error, path, ...none] = args;
        assert.equal(error, null);
        assert.deepEqual(none, []);
        assert.ok(path.startsWith(`${directory}/`), path);
        assert.match(relative(path), path.endsWith('.tar.gz') ? ARCHIVE : CORE);
        if ('isPromise' in answer) assert.equal(answer.isPromise, true);
        else assert.deepEqual([answer.calls, answer.early, answer.gave], [1, false, 'undefined']);
      }
      assert.deepEqual(answers.map(({ args }) => (args[1].endsWith('.tar.gz') ? 'archive' : 'core')),
        ['core', 'core', 'core', 'archive', 'core', 'core']);
      assert.deepEqual([failed.calls, failed.early, failed.gave, failed.args.length, failed.args[0].code], [1, false, 'undefined', 1, 'ENOENT']);
      // Numbered one after the other; the failed one may have taken a number or not.
      const numbers = answers.map(({ args }) => Number(/\.(\d{3})(?:\/core|\.tar\.gz)$/.exec(args[1])[1]));
      assert.deepEqual(numbers.slice(0, 4), [1, 2, 3, 4]);
      assert.equal(new Set(numbers).size, numbers.length);
    });

    await t.test('is the same by require and by import', async () => {
      const { code, stdout, stderr } = await runNode(node, { source: `
        const required = require(${JSON.stringify(index)});
        import(${JSON.stringify(index)}).then((module) => {
          console.log(module.createCore === required.createCore, module.collectCore === required.collectCore, module.default === required);
          console.log(typeof module.createCore, typeof module.collectCore);
        });
      ` });
      assert.deepEqual([code, stdout, stderr], [0, 'true true true\nfunction function\n', '']);
    });

    await t.test('writes to options.directory, else STILLCORE_DIRECTORY, else report.directory, else the working folder', async (t) => {
      const folder = quickFolder(t);
      for (const name of ['option', 'environment', 'report', 'cwd']) mkdirSync(join(folder, name));
      const paths = await subject.run(async ({ createCore }, folder) => {
        const paths = [];
        const before = process.cwd();
        process.chdir(`${folder}/cwd`);
        process.env.STILLCORE_DIRECTORY = `${folder}/environment`;
        process.report.directory = `${folder}/report`;
        paths.push(await createCore({ directory: `${folder}/option` }));
        // A relative path begins at the working folder, and the result is absolute all the same.
        paths.push(await createCore({ directory: '../option/' }));
        paths.push(await createCore());
        process.env.STILLCORE_DIRECTORY = '../environment';
        paths.push(await createCore({}));
        process.env.STILLCORE_DIRECTORY = '';
        paths.push(await createCore({ directory: undefined }));
        delete process.env.STILLCORE_DIRECTORY;
        process.report.directory = '';
        paths.push(await createCore());
        // Where it goes is decided when it is called.
        const late = createCore();
        process.chdir(before);
        paths.push(await late);
        return paths;
      }, folder);
      const folders = paths.map((path) => dirname(dirname(path)));
      assert.deepEqual(folders, ['option', 'option', 'environment', 'environment', 'report', 'cwd', 'cwd'].map((name) => join(folder, name)));
      for (const path of paths) assert.ok(existsSync(path), path);
    });

    await t.test('throws at wrong arguments with a callback, rejects without one, and begins nothing', async () => {
      const before = stateOf(subject, directory);
      const answers = await subject.run(async ({ stillcore, require, describe }, directory) => {
        const events = [];
        const channels = ['start', 'end', 'error'].map((name) => require('node:diagnostics_channel').channel(`stillcore:capture:${name}`));
        const note = (message, name) => events.push(name);
        for (const channel of channels) channel.subscribe(note);
        const called = [];
        const callback = (...args) => called.push(args);
        const wrong = {
          'options TYPE': [null, 5, 'core', true, [], Symbol('s'), 5n],
          'options.directory TYPE': [5, null, {}, [directory], Buffer.from(directory), new URL('file:///tmp')].map((directory) => ({ directory })),
          'options.directory VALUE': ['', 'a\0b'].map((directory) => ({ directory })),
          'options.signal TYPE': [5, null, 'abort', {}, new AbortController(), new EventTarget()].map((signal) => ({ directory, signal })),
          'options.timeout TYPE': ['5', 5n, {}, true].map((timeout) => ({ directory, timeout })),
          'options.timeout VALUE': [0, -1, NaN, -Infinity].map((timeout) => ({ directory, timeout })),
          'options.stallTimeout TYPE': ['5'].map((stallTimeout) => ({ directory, stallTimeout })),
          'options.stallTimeout VALUE': [0, NaN].map((stallTimeout) => ({ directory, stallTimeout })),
        };
        const answers = [];
        const tell = (expected, how, error) => answers.push({ expected, how, type: error instanceof TypeError, ...describe(error), stack: undefined });
        for (const name of ['createCore', 'collectCore']) {
          for (const [expected, values] of Object.entries(wrong)) {
            for (const value of values) {
              try {
                stillcore[name](value, callback);
                tell(expected, 'returned', undefined);
              } catch (error) {
                tell(expected, 'threw', error);
              }
              let promise;
              try {
                promise = stillcore[name](value);
                await promise;
                tell(expected, 'fulfilled', undefined);
              } catch (error) {
                tell(expected, promise ? 'rejected' : 'threw, though it has no callback', error);
              }
            }
          }
          for (const callback of [null, 5, 'callback', {}, Promise.resolve()]) {
            try {
              stillcore[name]({ directory }, callback);
              tell('callback TYPE', 'returned', undefined);
            } catch (error) {
              tell('callback TYPE', 'threw', error);
            }
          }
        }
        await new Promise((resolve) => setTimeout(resolve, 50));
        for (const channel of channels) channel.unsubscribe(note);
        return { answers, called, events };
      }, directory);
      assert.equal(answers.answers.length, 2 * (2 * 32 + 5));
      for (const { expected, how, type, name, code, message } of answers.answers) {
        const [argument, kind] = expected.split(' ');
        assert.deepEqual({ how, type, name, code }, { how: argument === 'callback' || how === 'threw' ? 'threw' : 'rejected', type: true, name: 'TypeError', code: `ERR_INVALID_ARG_${kind}` }, `${expected}: ${message}`);
        assert.ok(message.startsWith(`The "${argument}" argument must be `), message);
        assert.match(message, /Received ./);
      }
      // Each of the values once in each form.
      assert.equal(answers.answers.filter(({ how }) => how === 'rejected').length, 2 * 32);
      assert.deepEqual([answers.called, answers.events], [[], []]);
      await asBefore(subject, before, directory);
    });

    await t.test('tells its steps on diagnostics_channel', async () => {
      const events = await subject.run(async ({ createCore, collectCore, require }, directory) => {
        const { channel } = require('node:diagnostics_channel');
        const events = [];
        const listeners = ['start', 'end', 'error'].map((name) => [channel(`stillcore:capture:${name}`), ({ what, pid, directory, path, error }) => events.push([name, { what, pid, directory, path, error: error?.code }])]);
        for (const [one, listen] of listeners) one.subscribe(listen);
        const promise = createCore({ directory });
        const begun = events.length;
        await promise;
        await collectCore({ directory });
        await createCore({ directory: `${directory}/nowhere` }).catch(() => {});
        await createCore({ directory, signal: AbortSignal.timeout(1) }).catch(() => {});
        for (const [one, listen] of listeners) one.unsubscribe(listen);
        await createCore({ directory });
        return { begun, events };
      }, directory);
      assert.equal(events.begun, 1, 'the start is told before the call returns');
      const about = { pid: subject.pid, directory };
      const [path, archive] = [1, 3].map((n) => events.events[n][1].path);
      assert.deepEqual(events.events, [
        ['start', { what: 'core', ...about }],
        ['end', { what: 'core', ...about, path }],
        ['start', { what: 'archive', ...about }],
        ['end', { what: 'archive', ...about, path: archive }],
        ['start', { what: 'core', pid: subject.pid, directory: join(directory, 'nowhere') }],
        ['error', { what: 'core', pid: subject.pid, directory: join(directory, 'nowhere'), error: 'ENOENT' }],
        ['start', { what: 'core', ...about }],
        ['error', { what: 'core', ...about, error: 'ABORT_ERR' }],
      ]);
      assert.match(relative(path), CORE);
      assert.match(relative(archive), ARCHIVE);
    });

    await t.test('tells its steps with times where NODE_DEBUG has stillcore', async (t) => {
      const folder = quickFolder(t);
      const source = `
        const { createCore } = require(${JSON.stringify(index)});
        createCore({ directory: process.argv[1] }).then(() => createCore({ directory: process.argv[1] + '/nowhere' })).catch(() => {});
      `;
      const { stderr, pid } = await runNode(node, { source }, { args: [folder], env: { NODE_DEBUG: 'stillcore' } });
      const lines = stderr.trim().split('\n').map((line) => line.replace(`STILLCORE ${pid}: `, '').replace(/\b\d+\.\d\b/g, 'N'));
      const name = readdirSync(folder)[0];
      assert.deepEqual(lines, [
        `core #1 begun kernel, the forks took N ms`,
        ...['forked', 'settled', 'dumped', 'published'].map((step) => `core #1: ${step} after N ms`),
        `core done: ${join(folder, name, 'core')}`,
        `core failed: ${lines[6].slice('core failed: '.length)}`,
      ]);
      assert.match(lines[6], /ENOENT/);
    });

    await t.test('an AbortSignal ends a capture before it begins, while it is dumped, packed, or waits', async (t) => {
      const folder = quickFolder(t);
      const before = stateOf(subject, folder);
      const answers = await subject.run(async ({ createCore, collectCore, require, describe }, directory) => {
        const { readFileSync, readdirSync, statSync } = require('node:fs');
        const { getEventListeners } = require('node:events');
        const answers = {};
        const failed = async (name, promise, signal) => {
          const error = await promise.then((path) => new Error(path), (error) => error);
          answers[name] = {
            isError: error instanceof Error && !(error instanceof TypeError), ...describe(error), stack: undefined,
            sameCause: error.cause === signal.reason, listeners: getEventListeners(signal, 'abort').length,
          };
        };
        /** The files of the captures that run, by their names in the working folders. */
        const files = () => readdirSync(directory).filter((name) => name.endsWith('.partial'))
          .flatMap((folder) => readdirSync(`${directory}/${folder}`).map((name) => [name, statSync(`${directory}/${folder}/${name}`).size]));

        const early = AbortSignal.abort();
        await failed('before', createCore({ directory, signal: early }), early);
        answers.before.left = readdirSync(directory);

        const called = new AbortController();
        await failed('at once', new Promise((resolve, reject) => {
          createCore({ directory, signal: called.signal }, (error, path) => (error ? reject(error) : resolve(path)));
          called.abort(new RangeError('a reason'));
        }), called.signal);

        // The kernel writes a file while this thread does nothing but look for it.
        const dumping = new AbortController();
        const dumped = collectCore({ directory, signal: dumping.signal });
        const cores = () => files().filter(([name, size]) => name !== 'archive' && size > 0).map(([name]) => name);
        while (cores().length === 0);
        answers.dumpingFiles = cores();
        dumping.abort('no error but a string');
        await failed('while dumped', dumped, dumping.signal);

        const packing = new AbortController();
        const packed = collectCore({ directory, signal: packing.signal });
        const copies = () => readFileSync(`/proc/self/task/${process.pid}/children`, 'latin1').trim();
        while (copies() !== '' || !files().some(([name, size]) => name === 'archive' && size > 0)) await new Promise(setImmediate);
        packing.abort();
        await failed('while packed', packed, packing.signal);

        const waiting = new AbortController();
        const first = createCore({ directory });
        const second = collectCore({ directory, signal: waiting.signal });
        const third = createCore({ directory });
        waiting.abort();
        const start = performance.now();
        await failed('in line', second, waiting.signal);
        answers.others = [await first, await third];
        answers.inLineMs = performance.now() - start;

        const timeout = AbortSignal.timeout(1);
        await failed('by time', createCore({ directory, signal: timeout }), timeout);

        // Too late: nothing happens.
        const late = new AbortController();
        answers.late = [await createCore({ directory, signal: late.signal }), getEventListeners(late.signal, 'abort').length];
        late.abort();
        return answers;
      }, folder);

      const causes = {
        before: 'AbortError: This operation was aborted', 'at once': 'RangeError: a reason', 'while dumped': 'no error but a string',
        'while packed': 'AbortError: This operation was aborted', 'in line': 'AbortError: This operation was aborted',
        'by time': 'TimeoutError: The operation was aborted due to timeout',
      };
      for (const [when, cause] of Object.entries(causes)) {
        const { isError, name, code, message, sameCause, listeners, cause: shown } = answers[when];
        assert.deepEqual({ isError, name, code, message, sameCause, listeners, shown },
          { isError: true, name: 'AbortError', code: 'ABORT_ERR', message: 'The operation was aborted', sameCause: true, listeners: 0, shown: cause }, when);
      }
      assert.deepEqual(answers.before.left, []);
      assert.equal(answers.dumpingFiles.length, 1, `one file of the kernel's was there: ${answers.dumpingFiles}`);
      assert.equal(answers.late[1], 0, 'nobody listens to the signal any more');
      const kept = [...answers.others, answers.late[0]];
      assert.deepEqual(readdirSync(folder).sort(), kept.map((path) => basename(dirname(path))).sort());
      before.files.push(...readdirSync(folder));
      await asBefore(subject, before, folder);
    });

    await t.test('an error thrown by the callback is an uncaught exception like any other', async (t) => {
      const folder = quickFolder(t);
      const source = `
        const { createCore } = require(${JSON.stringify(index)});
        const [directory, how] = process.argv.slice(1);
        if (how === 'caught') {
          process.on('uncaughtException', (error) => console.log('caught:', error.message));
          process.on('unhandledRejection', (error) => console.log('rejected:', error.message));
        }
        createCore({ directory }, (error, path) => {
          setTimeout(() => console.log('went on'), 20);
          throw new Error(path.slice(0, directory.length));
        });
        createCore({ directory: directory + '/nowhere' }, (error) => {
          if (how === 'caught') throw error;
        });
      `;
      const caught = await runNode(node, { source }, { args: [folder, 'caught'] });
      const nowhere = caught.stdout.split('\n').find((line) => /^caught: ENOENT/.test(line));
      assert.deepEqual([caught.code, caught.stderr, caught.stdout], [0, '', `${nowhere}\ncaught: ${folder}\nwent on\n`]);
      const uncaught = await runNode(node, { source }, { args: [folder, 'not'] });
      assert.deepEqual([uncaught.code, uncaught.signal, uncaught.stdout], [1, null, '']);
      assert.match(uncaught.stderr, new RegExp(`Error: ${folder}\\n`));
    });
  });
}
