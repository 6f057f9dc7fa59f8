// The heap inside a core, on every supported Node: what can be reached, against v8.writeHeapSnapshot of the same process
// just before (__test__/programs/planted.cjs); what memory is made of, against what the live process said; and cores of
// processes that were killed while they allocated and collected (__test__/programs/churn.cjs).
import assert from 'node:assert/strict';
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { folder, json, noBinary, root, stillcore, tried } from './support/autopsy.mjs';
import { nodes } from './support/nodes.mjs';

const programs = join(root, '__test__', 'programs');

function counts(core, ...args) {
  const all = new Map();
  for (const { constructor, count } of json('findjsobjects', core, '--isolate', '0', ...args).groups) {
    all.set(constructor, (all.get(constructor) ?? 0) + count);
  }
  return all;
}

/** How many objects of each constructor a heap snapshot has. */
function snapshotCounts(file) {
  const { snapshot, nodes, strings } = JSON.parse(readFileSync(file, 'utf8'));
  const { node_fields: fields, node_types: [types] } = snapshot.meta;
  const [type, name] = [fields.indexOf('type'), fields.indexOf('name')];
  const all = new Map();
  for (let at = 0; at < nodes.length; at += fields.length) {
    if (types[nodes[at + type]] !== 'object') continue;
    const constructor = strings[nodes[at + name]];
    all.set(constructor, (all.get(constructor) ?? 0) + 1);
  }
  return all;
}

/** The counts with those of SafeMap, SafeSet and their like put to those of Map and Set. */
function untagged(counts) {
  const all = new Map();
  for (const [name, count] of counts) {
    const tag = name.replace(/^Safe(?=(Weak)?(Map|Set)$)/, '');
    all.set(tag, (all.get(tag) ?? 0) + count);
  }
  return all;
}

const planted = new Map();
function plant(node) {
  if (!planted.has(node.major)) {
    const place = folder();
    const { stdout, stderr } = spawnSync(node.path, ['--expose-gc', join(programs, 'planted.cjs'), place], { encoding: 'utf8', maxBuffer: 1 << 26 });
    assert.ok(stdout, stderr);
    planted.set(node.major, { ...JSON.parse(stdout), snapshot: join(place, 'planted.heapsnapshot') });
  }
  return planted.get(node.major);
}

const HELD = ['PlantedArray', 'PlantedChild', 'PlantedTable', 'PlantedKey', 'PlantedValue', 'PlantedClosure', 'PlantedTimer',
  'PlantedRequest', 'PlantedHandle', 'PlantedPromise', 'PlantedMicrotask', 'PlantedLink'];

for (const node of await nodes()) {
  const skip = node.skip || noBinary;

  test(`what can be reached is what a heap snapshot has, on ${node.label}`, { skip }, (t) => {
    const { core, snapshot } = plant(node);
    const [mine, theirs] = [counts(core), snapshotCounts(snapshot)];
    for (const name of HELD) {
      assert.ok(theirs.get(name) > 0, `${name} is in the snapshot`);
      assert.equal(mine.get(name), theirs.get(name), name);
    }
    // Held by WeakRefs, or under keys that are gone.
    for (const name of ['PlantedWeak', 'PlantedDeadValue']) {
      assert.equal(theirs.get(name) ?? 0, 0);
      assert.equal(mine.get(name) ?? 0, 0, name);
    }
    // Garbage that was made since: stacks and registers are gone through conservatively, so one or two may be left.
    const all = counts(core, '--all');
    assert.ok(all.get('PlantedGarbage') > 1000, `${all.get('PlantedGarbage')} are still in memory`);
    assert.ok((mine.get('PlantedGarbage') ?? 0) <= 2, `${mine.get('PlantedGarbage')} of them count as reachable`);
    // All others. Node's own SafeMap is a Map to a snapshot, by its tag.
    const [ours, others] = [mine, theirs].map(untagged);
    const names = [...ours.keys()].filter((name) => !name.startsWith('Function'));
    const equal = names.filter((name) => ours.get(name) === others.get(name)).length;
    const wrong = names.filter((name) => others.has(name) && Math.abs(ours.get(name) - others.get(name)) > 0.2 * others.get(name) + 30);
    t.diagnostic(`${equal} of ${names.length} constructors have the same count`);
    assert.ok(equal > 0.6 * names.length, `${equal} of ${names.length}`);
    assert.deepEqual(wrong, []);
  });

  test(`references and paths from roots, on ${node.label}`, { skip }, () => {
    const { core } = plant(node);
    const one = (name) => json('findjsinstances', core, name, '-n', '1', '--isolate', '0').instances[0];
    const path = (name) => json('jsfindrefs', core, one(name), '-r', '--isolate', '0');
    assert.match(path('PlantedMicrotask').root, /^a microtask in the queue at 0x/);
    // A list of a hundred thousand, from its far end.
    const list = path('PlantedEnd');
    assert.ok(list.length > 100_000 && list.path.length <= 100, `${list.length} objects, ${list.path.length} shown`);
    const { instances } = json('findjsinstances', core, 'PlantedLink', '--isolate', '0');
    assert.deepEqual([...new Set(json('jsfindrefs', core, instances[50_000], '--isolate', '0').map(({ as }) => as))], ['PlantedLink.next']);
    assert.match(stillcore('jsfindrefs', core, '-n', 'half', '--isolate', '0'), /PlantedArray\.half = 1\.5/);
    assert.match(stillcore('findrefs', core, '-s', 'child 7', '--isolate', '0').trim(), /^0x[0-9a-f]+: PlantedChild\.name$/);
    const weak = json('jsfindrefs', core, one('PlantedKey'), '--isolate', '0');
    assert.ok(weak.some((reference) => reference.weak === true) && weak.some((reference) => reference.weak === false), JSON.stringify(weak));
    assert.ok(weak.every(({ as }) => as.endsWith(' (a key)') || !as.startsWith('WeakMap')), JSON.stringify(weak));
    const value = json('jsfindrefs', core, one('PlantedValue'), '--isolate', '0').map(({ as }) => as);
    assert.ok(value.some((as) => /^WeakMap\.get\(\[Planted(Key|Value) 0x/.test(as)), JSON.stringify(value));
    const entry = json('jsfindrefs', core, one('PlantedEntry'), '--isolate', '0').map(({ as }) => as);
    assert.deepEqual(entry.map((as) => as.replace(/ 0x\w+/, '')), ['Map (a key)', "Map.get('by this key')", 'Map.get([Object])']);
    const garbage = json('findjsinstances', core, 'PlantedGarbage', '--all', '-n', '3', '--isolate', '0').instances[2];
    const none = tried('jsfindrefs', core, garbage, '-r', '--isolate', '0');
    assert.notEqual(none.status, 0);
    assert.match(none.stderr, /no path from a root leads to .*garbage/);
  });

  test(`every object is listed once, and native contexts without the heap, on ${node.label}`, { skip }, () => {
    const { core } = plant(node);
    const all = json('findjsobjects', core, '-l', '--isolate', '0');
    const sum = json('findjsobjects', core, '--isolate', '0').groups.reduce((sum, { count }) => sum + count, 0);
    assert.equal(all.length, sum);
    assert.equal(new Set(all).size, sum);
    // Every instance of a class is among them, however it is asked for.
    const listed = new Set(all);
    for (const name of ['PlantedLink', 'PlantedTable']) {
      const { instances } = json('findjsinstances', core, name, '--isolate', '0');
      assert.ok(instances.length > 0 && instances.every((address) => listed.has(address)), name);
    }
    assert.ok(json('isolates', core).every(({ environment }) => /^0x/.test(environment)));
  });

  test(`heap adds up, and to what the process said, on ${node.label}`, { skip }, () => {
    const { core, memory, spaces } = plant(node);
    const heap = json('heap', core);
    const sum = [...heap.spaces, ...heap.outside].reduce((sum, line) => sum + line.present, 0);
    assert.equal(sum, heap.present);
    for (const { space, bytes, present } of heap.spaces) assert.ok(present <= bytes, `${space}: ${present} of ${bytes}`);
    // The process's RSS has unchanged pages of files too, of which a core has none: Node's program, libraries.
    assert.ok(heap.present < memory.rss * 1.05, `${heap.present} of ${memory.rss}`);
    assert.ok(heap.present + heap.mappedFiles > memory.rss * 0.85, `${heap.present} and ${heap.mappedFiles} of ${memory.rss}`);
    for (const { space_name: name, space_used_size: used } of spaces) {
      const mine = heap.spaces.find((space) => space.isolate === 0 && space.space === name);
      // New space has the snapshot's and the capture's own objects.
      if (!/^(old|code|trusted|large_object)_space$/.test(name) || used < 2 ** 18) continue;
      assert.ok(mine && Math.abs(mine.objects - used) < 0.1 * used + 2 ** 19, `${name}: ${mine?.objects}, and the process said ${used}`);
    }
  });

  for (const how of ['scavenge', 'compact', 'incremental']) {
    test(`the heap of a process that was killed in the middle (${how}), on ${node.label}`, { skip }, async (t) => {
      const pattern = readFileSync('/proc/sys/kernel/core_pattern', 'utf8').trim();
      if (pattern !== 'core') return t.skip(`core_pattern is ${pattern}, not core`);
      const place = folder();
      const child = spawn('sh', ['-c', 'ulimit -c unlimited; exec "$0" "$@"', node.path, '--expose-gc', ...(how === 'incremental' ? ['--max-semi-space-size=1'] : []),
        join(programs, 'churn.cjs'), how], { cwd: place, stdio: ['ignore', 'pipe', 'ignore'] });
      await once(child.stdout, 'data');
      await sleep(150 + Math.random() * 250);
      child.kill('SIGABRT');
      await once(child, 'exit');
      const core = readdirSync(place).find((name) => name.startsWith('core'));
      if (!core) return t.skip('the kernel left no core');
      const { walked, gaps, missing, begun } = json('layout', join(place, core));
      assert.ok(walked > 5e6);
      assert.ok(gaps + missing <= walked / 1000, `${gaps + missing} of ${walked} bytes could not be walked`);
      // At most one object of each thread of the collector, and one of JavaScript, is not written yet.
      assert.ok(begun <= 16 * 2 ** 17, `${begun} bytes of objects were begun`);
      // All forty thousand are there, and can be reached, wherever they were being moved (but for one that a thread was just
      // copying, at most), and one or two that a stack has.
      const all = counts(join(place, core), '--all').get('ChurnNode');
      assert.ok(all >= 39_990, `${all} of 40000 found`);
      const reached = counts(join(place, core)).get('ChurnNode');
      assert.ok(reached >= 39_990 && reached <= 40_100, `${reached} of 40000 reached`);
      // Each is whole: a reference to where one was leads to where it is.
      const last = json('findjsinstances', join(place, core), 'ChurnNode').instances.at(-1);
      assert.match(stillcore('jsprint', join(place, core), last), /ChurnNode \{\n? *n: \d+,[^]*text: 'node \d+',[^]*list: /);
      assert.ok(json('jsfindrefs', join(place, core), last).length > 0, `nobody refers to ${last}, which can be reached`);
      rmSync(join(place, core));
    });
  }
}

test('a leak of Buffers, of external strings and of native memory is seen at once', { skip: noBinary }, async () => {
  const node = (await nodes()).find((one) => !one.skip);
  const leak = (source) => {
    const place = folder();
    const program = `${source}; require(${JSON.stringify(join(root, 'index.js'))}).capture({ method: 'direct', what: 'core', directory: ${JSON.stringify(place)} })
      .then(({ path }) => process.stdout.write(path, () => process.exit(0)))`;
    return execFileSync(node.path, ['--expose-gc', '-e', program], { encoding: 'utf8' });
  };
  const megabyte = 2 ** 20;
  const line = (heap, what) => heap.outside.find((one) => one.what === what)?.present ?? 0;

  const buffers = leak('globalThis.leak = Array.from({ length: 300 }, () => Buffer.alloc(200_000, 1))');
  const { groups } = json('findjsobjects', buffers);
  assert.equal(groups[0].external > 59e6, true, JSON.stringify(groups[0]));
  assert.ok(groups.find(({ constructor }) => constructor === 'Buffer').external >= 60_000_000);
  assert.ok(line(json('heap', buffers), 'stores of ArrayBuffers') >= 60_000_000);

  // latin1 strings of a megabyte and more are external.
  const strings = leak('globalThis.leak = Array.from({ length: 40 }, () => Buffer.alloc(1_500_000, 97).toString("latin1")); gc(); gc()');
  assert.ok(json('findjsobjects', strings).externalStrings.bytes >= 60_000_000);
  assert.ok(line(json('heap', strings), 'texts of external strings') >= 58_000_000);

  const native = leak('const zlib = require("zlib"); globalThis.leak = Array.from({ length: 150 }, () => { const z = zlib.createDeflate({ level: 9, memLevel: 9, windowBits: 15 }); z.write(Buffer.alloc(400_000, 97)); z.flushSync?.(); return z; })');
  const heap = json('heap', native);
  assert.ok(line(heap, 'malloc and other writable memory') > 20 * megabyte, JSON.stringify(heap.outside));
});
