// The JavaScript inside a core, on every supported Node: what stillcore reads from cores of a scenario equals what the
// live process said of itself just before (__test__/programs/scenario.cjs), and V8's own traces.
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { openSync, readSync, writeSync, closeSync, readdirSync, renameSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { folder, json, noBinary, root, stillcore, tried } from './support/autopsy.mjs';
import { readElf } from './support/core-file.mjs';
import { nodes, oldestNodes } from './support/nodes.mjs';

const program = join(root, '__test__', 'programs', 'scenario.cjs');

/** One core of the scenario for each Node, made when it is first asked for. */
const scenarios = new Map();
function scenario(node) {
  if (!scenarios.has(node.label)) {
    const place = folder();
    const output = execFileSync(node.path, [program, place, 'direct', 'workers=2'], { encoding: 'utf8', maxBuffer: 1 << 26 });
    const inside = readdirSync(place).find((name) => name.startsWith('core'));
    const core = join(place, 'scenario.core');
    renameSync(join(place, inside, 'core'), core);
    scenarios.set(node.label, { core, said: JSON.parse(output) });
  }
  return scenarios.get(node.label);
}

/** `at Service.handle (file:1:2)` and `at file:1:2`, as [name, place]. */
function framesOf(stack) {
  return stack.split('\n').filter((line) => /^ {4}at /.test(line)).map((line) => {
    const named = /^ {4}at (.*) \((.*)\)$/.exec(line);
    return named ? [named[1], named[2]] : ['<anonymous>', line.replace(/^ {4}at /, '')];
  });
}

/** The frames of the program in a stack of ours, from one function on, in the same form. */
function framesFrom(stack, first) {
  const frames = stack.frames.filter((frame) => frame.kind === 'js' || frame.kind === 'builtin')
    .map((frame) => [frame.name, frame.script ? `${frame.script}:${frame.line}:${frame.column}` : '<anonymous>']);
  return frames.slice(frames.findIndex(([name]) => name === first));
}

const newest = await nodes();
for (const node of [...newest, ...await oldestNodes()]) {
  const skip = node.skip || noBinary;
  // On the oldest releases only what reads layouts: they may drift inside a line.
  const all = newest.includes(node);

  test(`jsstack equals the trace that V8 printed, on ${node.label}`, { skip }, () => {
    const { core, said } = scenario(node);
    const { threads } = json('jsstack', core);
    assert.equal(threads[0].tid, said.pid);
    const [mine, theirs] = [framesFrom(threads[0], 'leaveCore'), framesOf(said.stack)];
    // The innermost frame has gone on by a few lines since.
    assert.equal(mine[0][0], theirs[0][0]);
    assert.deepEqual(mine.slice(1), theirs.slice(1));
    const innermost = threads[0].frames.find((frame) => frame.name === 'leaveCore');
    assert.deepEqual(innermost.arguments.slice(0, 2).map((one) => one.value), ["'label'", '42']);
  });

  if (all) test(`jsstack of a core by abort() equals the trace that was printed, on ${node.label}`, { skip }, (t) => {
    const pattern = readFileSync('/proc/sys/kernel/core_pattern', 'utf8').trim();
    if (pattern !== 'core') return t.skip(`core_pattern is ${pattern}, not core`);
    const place = folder();
    const done = spawnSync('sh', ['-c', 'ulimit -c unlimited; exec "$0" "$@"', node.path, program, '.', 'abort'], { cwd: place, encoding: 'utf8', maxBuffer: 1 << 26 });
    const core = readdirSync(place).find((name) => name.startsWith('core'));
    if (!core) return t.skip('the kernel left no core');
    const printed = done.stderr.split('\n').map((line) => /^\d+: (?:(.*) \()?(.*?:\d+:\d+)\)?$/.exec(line)).filter(Boolean).map((match) => match[2]);
    assert.ok(printed.length >= 9);
    const { threads } = json('jsstack', join(place, core));
    // That trace has no builtins.
    const mine = framesFrom(threads[0], 'leaveCore').map(([, where]) => where).filter((where) => where !== '<anonymous>');
    assert.deepEqual(mine.slice(0, printed.length), printed);
  });

  test(`each worker has its own isolate and stack, on ${node.label}`, { skip }, () => {
    const { core } = scenario(node);
    const isolates = json('isolates', core);
    assert.equal(isolates.length, 3);
    for (const isolate of [1, 2]) {
      const [stack] = json('jsstack', core, '--isolate', String(isolate)).threads;
      assert.match(stack.frames.find((frame) => frame.script?.endsWith('scenario.cjs')).name, /sleepsForever/);
    }
    const counts = [1, 2].map((isolate) => json('findjsinstances', core, 'WorkerThing', '--isolate', String(isolate)).count);
    assert.deepEqual(counts.sort((a, b) => a - b), [100, 200]);
  });

  test(`findjsobjects counts the planted classes exactly, on ${node.label}`, { skip }, () => {
    const { core, said } = scenario(node);
    const { groups } = json('findjsobjects', core, '--isolate', '0');
    const count = (name, property) => groups.filter((group) => group.constructor === name && group.properties.includes(property))
      .reduce((sum, group) => sum + group.count, 0);
    assert.equal(count('PlantedPoint', 'x'), said.counts.PlantedPoint);
    assert.equal(count('PlantedChild', 'label'), said.counts.PlantedChild);
    assert.equal(count('PlantedOld', 'name'), said.counts.PlantedOld);
    const layout = json('layout', core);
    assert.equal(layout.gaps + layout.missing, 0, 'all of the heap could be walked');
  });

  test(`jsprint writes values as the process did, on ${node.label}`, { skip }, () => {
    const { core, said } = scenario(node);
    const [holder] = json('findjsinstances', core, 'ScenarioHolder', '--isolate', '0').instances;
    const properties = Object.entries(said.properties);
    // What is written otherwise on purpose: functions with their places, boxes, depth marks, states.
    const plain = new Set(['undefinedValue', 'nullValue', 'yes', 'no', 'smi', 'big', 'double', 'negativeZero', 'nan', 'infinity',
      'tiny', 'large', 'bigint', 'negativeBigint', 'zeroBigint', 'empty', 'oneByte', 'twoByte', 'quoted', 'cons', 'sliced', 'long',
      'symbol', 'bareSymbol', 'registered', 'wellKnown', 'doubles', 'emptyArray', 'frozen', 'emptyObject', 'nullPrototype', 'shaped',
      'old', 'date', 'regexp', 'buffer', 'uint8', 'int16', 'float64', 'float32', 'bigUint64', 'clamped', 'boxedNumber', 'boxedString',
      'boxedBoolean', 'boxedBigint', 'boxedSymbol', 'indexed', 'holeyDoubles', 'weakKey']);
    // All of them by one process: each would open the core anew.
    const compared = properties.filter(([name]) => plain.has(name));
    assert.equal(compared.length, plain.size);
    const commands = compared.flatMap(([name]) => ['-e', `jsprint ${holder} values.${name} -l 100 -d 1`]);
    const mine = stillcore('autopsy', core, ...commands).trimEnd().replace(/(\d) more characters$/gm, '$1 more characters');
    assert.equal(mine, compared.map(([, theirs]) => theirs).join('\n'));
    const value = (name, ...args) => stillcore('jsprint', core, holder, `values.${name}`, ...args).trimEnd();
    assert.match(value('child'), /^PlantedChild \{ #secret: 'private field', x: 7, y: -7, label: 'child 7' \}$/);
    assert.match(value('map'), /^Map\(3\) \{[^]*'one' => 1[^]*NaN => 'nan'/);
    assert.match(value('weakMap'), /=> 'weak value'/);
    assert.match(value('cyclic'), /self: \[Circular Object 0x[0-9a-f]+\]/);
    assert.match(value('withGetter'), /computed: \[Getter\/Setter\], only: \[Getter\]/);
    assert.match(value('resolved'), /<fulfilled>: 'done'/);
    assert.match(value('rejected'), /<rejected>: Error: rejected on purpose\n/);
    assert.match(value('unread'), /^RangeError: nobody read its stack\n {4}at makeValues .*scenario\.cjs:\d+:\d+/);
    assert.match(value('generator'), /suspended at .*scenario\.cjs:\d+:\d+/);
    assert.match(value('classValue'), /^\[class PlantedChild .*scenario\.cjs:\d+:\d+\]/);
    assert.match(value('proxy'), /\[\[target\]\]/);
    assert.match(value('object', '-d', '9'), /f: 'deep'/);
  });

  test(`suspended awaits are told with their lines, on ${node.label}`, { skip }, () => {
    const { core } = scenario(node);
    const source = readFileSync(program, 'utf8').split('\n');
    const lineOf = (text) => source.findIndex((line) => line.includes(text)) + 1;
    const { promises } = json('promises', core, '--isolate', '0');
    const chains = promises.flatMap((promise) => promise.awaitedBy);
    const chain = chains.find((one) => one.length >= 3 && one[2].startsWith('outermostAwait'));
    assert.ok(chain, JSON.stringify(promises));
    assert.ok(chain[0].includes(`innermostAwait ${program}:${lineOf('  await never;')}:`), chain[0]);
    assert.ok(chain[1].includes(`middleAwait ${program}:${lineOf('return [await innermostAwait(never)]')}:`), chain[1]);
    assert.ok(chain[2].includes(`outermostAwait ${program}:${lineOf('await middleAwait(never);')}:`), chain[2]);
  });

  test(`closures, references, handles, timers and nodeinfo, on ${node.label}`, { skip }, () => {
    const { core, said } = scenario(node);
    const [holder] = json('findjsinstances', core, 'ScenarioHolder', '--isolate', '0').instances;
    const closure = json('jsprint', core, holder, 'closure').closure.address;
    const held = json('jsclosure', core, closure);
    assert.deepEqual(held.slice(0, 2).map(({ name }) => name).sort(), ['captured', 'count']);
    assert.ok(held.some(({ name, value }) => name === 'captured' && value.text === "'captured string'"));
    const values = json('jsprint', core, holder, 'values').values.address;
    assert.ok(json('jsfindrefs', core, values).some((one) => one.from === holder && one.as === 'ScenarioHolder.values'));
    assert.match(stillcore('jsfindrefs', core, holder, '-r'), /^root: /);
    assert.ok(json('handles', core, '--isolate', '0').some((handle) => handle.class === 'TCP' && handle.type === 'tcp' && handle.active));
    const timers = json('timers', core, '--isolate', '0');
    assert.ok(timers.some((timer) => timer.repeat === 1e6 && timer.callback.text.includes('tick')));
    assert.ok(timers.some((timer) => timer.after === 5e5 && timer.callback.text.includes('later')));
    const info = json('nodeinfo', core);
    assert.deepEqual([info.version, info.argv], [said.version, said.argv]);
    assert.match(stillcore('jssource', core, closure, '-n', '0'), /plantedClosure/);
    assert.deepEqual(json('modules', core, '--js').map(({ name }) => name).filter((name) => name === program).length, 3);
  });

  if (all) test(`mdb's and llnode's tongues mean the same, on ${node.label}`, { skip }, () => {
    const { core } = scenario(node);
    const run = (line) => stillcore('autopsy', core, '--isolate', '0', '-e', line);
    assert.equal(run('v8 bt'), run('jsstack'));
    const [holder] = json('findjsinstances', core, 'ScenarioHolder', '--isolate', '0').instances;
    assert.equal(run(`${holder.slice(2)}::jsprint -d 0`), run(`jsprint ${holder} -d 0`));
    assert.equal(run('::findjsobjects -c PlantedChild -p label | ::findjsobjects | ::jsprint label').trim().split('\n').length, 322);
    assert.equal(run('::findjsobjects -c PlantedChild -p label -l ! wc -l').trim(), '322');
    assert.equal(run('::load v8'), '');
  });

  if (all) test(`a damaged page makes answers that say they are partial, on ${node.label}`, { skip }, () => {
    const { core } = scenario(node);
    const copy = join(folder(), 'core');
    execFileSync('cp', ['--sparse=always', core, copy]);
    const [holder] = json('findjsinstances', core, 'ScenarioHolder', '--isolate', '0').instances;
    const values = json('jsprint', core, holder, 'points').points.address;
    // The page that the array of points is on, but for its header.
    const page = BigInt(values) & ~0x3ffffn;
    // The holder may be on it, or not.
    const elsewhere = json('findjsinstances', core, 'Object', '--isolate', '0').instances.find((one) => (BigInt(one) & ~0x3ffffn) !== page);
    const load = readElf(copy).loads.find(({ start, end }) => start <= page && page < end);
    const file = openSync(copy, 'r+');
    writeSync(file, Buffer.alloc(0x3a000, 0x41), 0, 0x3a000, load.offset + Number(page + 0x4000n - load.start));
    closeSync(file);
    const layout = tried('layout', copy, '--isolate', '0', '--json');
    const { gaps, walked, constants } = JSON.parse(layout.stdout);
    assert.ok(gaps > 0x20000 && gaps < 0x80000, `${gaps} bytes were not understood`);
    assert.ok(gaps / walked > 0.01);
    for (const command of [['findjsobjects'], ['findjsinstances', 'PlantedPoint'], ['layout'], ['jsfindrefs', elsewhere]]) {
      const done = tried(command[0], copy, ...command.slice(1), '--isolate', '0');
      assert.match(done.stderr, /% of the heap could not be walked/, command[0]);
    }
    // Every offset says where it came from.
    const sources = new Set(constants.map(({ from }) => from));
    assert.deepEqual([...sources].filter((from) => !['metadata', 'derived', 'table', 'searched', 'missing'].includes(from)), []);
    assert.ok(constants.every(({ value, from }) => (value === null) === (from === 'missing')));
    for (const from of ['metadata', 'table', 'searched', 'derived']) assert.ok(sources.has(from), from);
  });

  if (all) test(`a core whose bytes were changed ends no command in a panic, on ${node.label}`, { skip }, () => {
    const { core } = scenario(node);
    const place = folder();
    const copy = join(place, 'core');
    const pages = json('isolates', core);
    assert.ok(pages.length > 0);
    execFileSync('cp', ['--sparse=always', core, copy]);
    const file = openSync(copy, 'r+');
    const size = statSync(copy).size;
    // Where there is data: bytes that are not zero are changed, by a generator that begins the same each time.
    let seed = 12345 + node.major;
    const random = (limit) => { seed = (Math.imul(seed, 1103515245) + 12345) >>> 0; return Math.floor((seed / 2 ** 32) * limit); };
    const one = Buffer.alloc(8);
    let changed = 0;
    for (let tries = 0; tries < 400_000 && changed < 20_000; tries++) {
      const at = 65_536 + random(Math.floor((size - 131_072) / 8)) * 8;
      readSync(file, one, 0, 8, at);
      if (one.every((byte) => byte === 0)) continue;
      one[random(8)] ^= 1 << random(8);
      writeSync(file, one, 0, 8, at);
      changed++;
    }
    closeSync(file);
    for (const command of [['jsstack', '-a', '-v', '-t', 'all'], ['findjsobjects', '--all'], ['promises', '-a'], ['strings', '--min', '500'], ['heap'], ['layout'], ['handles'], ['nodeinfo']]) {
      const done = tried(command[0], copy, ...command.slice(1));
      assert.equal(done.signal, null, `${command.join(' ')} was killed or hung`);
      assert.ok([0, 1, 3].includes(done.status), `${command.join(' ')} ended with ${done.status}: ${done.stderr.slice(-600)}`);
      assert.doesNotMatch(done.stderr, /panicked/);
    }
  });
}
