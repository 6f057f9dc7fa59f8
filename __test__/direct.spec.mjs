// The direct way: the copy sleeps and is read. All that was in the process is in the core, every thread is, and nothing
// in it says that anything crashed. What holds for threads and notes holds for a core of the kernel's as well.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFileSync, readdirSync } from 'node:fs';
import test from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { works } from '../scripts/workspace.mjs';
import { describeCore, madeBy, missingRanges, processOf, readElf, threadsOf } from './support/core-file.mjs';
import { temporaryFolder } from './support/files.mjs';
import { captureHeap, checkHeap } from './support/heap.mjs';
import { nodes } from './support/nodes.mjs';
import { runNode } from './support/run.mjs';
import { pieces } from './support/scan.mjs';

const execute = promisify(execFile);
const program = fileURLToPath(new URL('programs/threads.cjs', import.meta.url));
const noGdb = works('gdb') ? false : 'gdb is not installed here';
const noLldb = works('lldb') ? false : 'lldb is not installed here';
const pattern = readFileSync('/proc/sys/kernel/core_pattern', 'utf8').trim();
const noKernelWay = /^[|@/]/.test(pattern) ? `kernel.core_pattern is '${pattern}' here` : false;

for (const node of await nodes()) {
  test(`a core of ${node.label} holds all that was in any kind of memory in the instant of the call`, { skip: node.skip }, async (t) => {
    const directory = temporaryFolder(t);
    const told = await captureHeap(node, 'core', directory, { env: { STILLCORE_METHOD: 'direct' } });
    const elf = readElf(told.path);
    assert.equal(elf.type, 4);
    assert.equal(elf.size, elf.expectedSize);
    assert.ok(told.heap.length > 20, `only ${told.heap.length} ranges had been kept out of forks`);
    assert.deepEqual(missingRanges(elf, told.heap), []);
    await checkHeap(told, pieces(told.path));
    const { signal, files } = describeCore(elf);
    assert.equal(signal, 0, 'nothing crashed');
    assert.ok(files.includes(node.path));
    assert.deepEqual(told.stateAfter, told.stateBefore);
    assert.equal(readdirSync(directory).length, 1);
  });

  // What the kernel adds to its own notes does not depend on Node: its oldest and its newest will do.
  for (const method of [20, 26].includes(node.major) ? ['direct', 'kernel'] : ['direct']) {
    const skip = node.skip || (method === 'kernel' && noKernelWay);
    test(`every thread is in a core of ${node.label} by the ${method} way`, { skip }, async (t) => {
      const directory = temporaryFolder(t);
      const { stdout, stderr, code } = await runNode(node, program, { args: [JSON.stringify({ directory, method })] });
      assert.equal(stderr, '');
      assert.equal(code, 0);
      const told = JSON.parse(stdout);
      const { capture, threads, about, pid } = told;
      assert.equal(capture.error, undefined);
      assert.equal(capture.method, method);
      assert.deepEqual(told.ends, [0, 0], 'the workers went on');
      const elf = readElf(capture.path);
      const found = threadsOf(elf);

      await t.test('each once, the calling one first, with all registers', () => {
        assert.equal(found[0].tid, pid);
        const tids = threads.map(({ tid }) => tid);
        assert.deepEqual(found.map(({ tid }) => tid).sort((a, b) => a - b), tids.sort((a, b) => a - b));
        assert.deepEqual(capture.threads, { captured: threads.length, total: threads.length });
        assert.ok(found.every(({ floating }) => floating));
        // As in every core of the kernel's, all threads tell the signal; in the other nothing pretends to be a crash.
        assert.deepEqual(found.map(({ signal }) => signal), found.map(() => (method === 'kernel' ? 11 : 0)));
        const maps = about.maps.split('\n').map((line) => /^([0-9a-f]+)-([0-9a-f]+) (....)/.exec(line)).filter(Boolean)
          .map(([, start, end, rights]) => ({ start: BigInt(`0x${start}`), end: BigInt(`0x${end}`), rights }));
        for (const { tid, counter, pointer } of found) {
          assert.ok(maps.some(({ start, end, rights }) => start <= counter && counter < end && rights[2] === 'x'), `thread ${tid} runs at ${counter.toString(16)}`);
          assert.ok(maps.some(({ start, end, rights }) => start <= pointer && pointer < end && rights[1] === 'w'), `the stack of ${tid} is at ${pointer.toString(16)}`);
        }
      });

      await t.test('and the core says how it was made, with their names', () => {
        const note = madeBy(elf);
        assert.equal(note.tool, 'stillcore');
        assert.equal(note.pid, pid);
        assert.equal(note.method, method);
        assert.equal(note.node, node.version);
        assert.ok(Math.abs(Date.parse(note.time) - Date.now()) < 60_000, note.time);
        const byId = (a, b) => a.tid - b.tid;
        assert.deepEqual(note.threads.sort(byId), threads.sort(byId));
      });

      await t.test('process, auxiliary vector and files are as /proc has them', () => {
        const { process: info, auxv, files } = processOf(elf);
        const stat = about.stat.slice(about.stat.lastIndexOf(')') + 2).split(' ').map(Number);
        assert.equal(auxv, about.auxv);
        const { arguments: shown, ...ids } = info;
        assert.deepEqual(ids, { uid: about.uid, gid: about.gid, pid, parent: stat[1], group: stat[2], session: stat[3], name: threads.find(({ tid }) => tid === pid).name });
        const whole = [node.path, program, JSON.stringify({ directory, method })].join(' ');
        assert.equal(shown, whole.slice(0, 79));
        const line = /^([0-9a-f]+)-([0-9a-f]+) \S+ ([0-9a-f]+) \S+ ([1-9]\d*) +(\/.*)$/gm;
        const expected = [...about.maps.matchAll(line)].map(([, start, end, offset, , path]) => [start, end, offset, path]);
        const shownFiles = files.filter(({ path }) => path.startsWith('/'))
          .map(({ start, end, offset, path }) => [start.toString(16), end.toString(16), offset.toString(16).padStart(8, '0'), path]);
        const same = ([start, end, offset, path]) => [start.replace(/^0+/, ''), end.replace(/^0+/, ''), offset, path];
        assert.deepEqual(shownFiles, expected.map(same));
      });

      await t.test('gdb lists them, each where it stood', { skip: noGdb }, async () => {
        const { stdout, stderr } = await execute('gdb', ['-nx', '-batch', '-ex', 'info threads', '-ex', 'thread apply all backtrace 25', node.path, capture.path], { maxBuffer: 1 << 26 });
        // The kernel lists io_uring's rings as files; and gdb 13 does not know AMX.
        const warnings = stderr.split('\n').filter((line) => /warning|trunc|match|newer|error/i.test(line) && !/reg-xstate|anon_inode:\[io_uring\]/.test(line));
        assert.deepEqual(warnings, []);
        if (method === 'direct') assert.doesNotMatch(stdout, /terminated with signal|Program terminated/);
        assert.ok(stdout.includes('Core was generated by'), stdout);
        const listed = [...stdout.matchAll(/^[* ] +(\d+) +.*?(?:LWP |process )(\d+)/gm)].map(([, , tid]) => Number(tid));
        assert.equal(listed[0], pid);
        assert.deepEqual(listed.sort((a, b) => a - b), found.map(({ tid }) => tid).sort((a, b) => a - b));
        checkStacks(stdout.split(/^Thread \d+ \(/m).slice(1), (text) => text.includes(`LWP ${pid})`));
      });

      await t.test('lldb does', { skip: noLldb }, async () => {
        const { stdout } = await execute('lldb', ['--no-lldbinit', '--batch', '-o', 'thread list', '-o', 'thread backtrace all', '--core', capture.path, node.path], { maxBuffer: 1 << 26 });
        const listed = [...stdout.split('thread backtrace all')[0].matchAll(/^[* ] thread #\d+: tid = (\d+)/gm)].map(([, tid]) => Number(tid));
        assert.equal(listed[0], pid);
        assert.deepEqual(listed.sort((a, b) => a - b), found.map(({ tid }) => tid).sort((a, b) => a - b));
        checkStacks(stdout.split('thread backtrace all')[1].split(/^[* ] thread #/m).slice(1), (text) => /^1\b/.test(text));
      });
    });
  }
}

/** That the stacks are those of programs/threads.cjs, up to the first frame of JavaScript. */
function checkStacks(stacks, isCalling) {
  const count = (pattern) => stacks.filter((stack) => pattern.test(stack)).length;
  const all = stacks.join('\n');
  assert.equal(count(/\bworker\b[ (+](?:.*\n)*?.*start_thread/), 4, `threads of libuv's pool, asleep\n${all}`);
  assert.ok(count(/PlatformWorkerThread|PlatformWorkerThread\(void\*\)/) >= 4, `V8's own\n${all}`);
  assert.equal(count(/AtomicsWait/), 1, `the worker that waits\n${all}`);
  assert.match(stacks.find(isCalling), /stillcore\..*\.node[^]*FunctionCallback/, 'the calling thread, from the addon into Node');
}
