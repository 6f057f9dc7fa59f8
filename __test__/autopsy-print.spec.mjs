// Values, functions and their source as the commands print them, on every supported Node. What is right stands beside
// each value in __test__/programs/values.cjs, or is what util.inspect said of it in the process itself.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { binary, coreOf, json, noBinary, normalised, root, stillcore, tried } from './support/autopsy.mjs';
import { nodes, oldestNodes } from './support/nodes.mjs';

const program = join(root, '__test__', 'programs', 'values.cjs');
const source = readFileSync(program, 'utf8').split('\n');

/** One core of the values for each Node, made when it is first asked for. */
const cores = new Map();
function valuesOf(node) {
  if (!cores.has(node.label)) {
    const { core, output } = coreOf(node, program);
    const [holder] = json('findjsinstances', core, 'Holder').instances;
    cores.set(node.label, { core, holder, ...JSON.parse(output) });
  }
  return cores.get(node.label);
}

const escaped = (text) => text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
const oneLine = (text) => text.trimEnd().replace(/\s+/g, ' ');

/** What an expectation means: @ is a place on its line, <place> one anywhere, <line> line and column, <addr> an address. */
function pattern({ text, line, own }) {
  return new RegExp(`^${escaped(oneLine(text))
    // Node's own text is as it is.
    .replaceAll(own ? '@' : /(?!)/g, () => `${escaped(program)}:${line}:\\d+`)
    .replaceAll('<place>', '[^ \\]]+:\\d+:\\d+')
    .replaceAll('<line>', '\\d+:\\d+')
    .replaceAll('<addr>', '0x[0-9a-f]+')}$`);
}

/** The texts of values[n], by n. */
function printed(core, holder, indices, ...options) {
  const members = indices.map((index) => `values[${index}]`);
  // One member alone would stand without its name.
  const parts = stillcore('jsprint', core, holder, 'values[0]', ...members, '-d', '4', ...options).split(/^values\[(\d+)\]: /m);
  const texts = new Map();
  // The first is there only to make them many.
  for (let n = 3; n < parts.length; n += 2) texts.set(Number(parts[n]), oneLine(parts[n + 1]));
  return texts;
}

for (const node of [...await nodes(), ...await oldestNodes()]) {
  const skip = node.skip || noBinary;

  test(`every kind of value is printed as it should be, on ${node.label}`, { skip }, () => {
    const { core, holder, expected } = valuesOf(node);
    const all = expected.map((one, index) => [index, one]).filter(([, one]) => one);
    const isHidden = ([, one]) => one.name.startsWith('hidden: ');
    const indices = (list) => list.map(([index]) => index);
    const texts = new Map([
      ...printed(core, holder, indices(all.filter((one) => !isHidden(one)))),
      ...printed(core, holder, indices(all.filter(isHidden)), '-H'),
    ]);
    const wrong = [];
    for (const [index, one] of all) {
      let text = texts.get(index) ?? 'not printed at all';
      // Node marks what it does not open without the address.
      if (!one.own) text = text.replace(/ 0x[0-9a-f]{6,}/g, '');
      const right = one.pattern ? new RegExp(one.pattern) : pattern(one);
      if (!right.test(text)) wrong.push({ name: one.name, text: text.slice(0, 800), right: right.source.slice(0, 800) });
    }
    assert.deepEqual(wrong, []);
    assert.ok(all.length > 200);
  });

}

for (const node of await nodes()) {
  const skip = node.skip || noBinary;

  test(`functions, closures, arrays, buffers and scripts are printed as documented, on ${node.label}`, { skip }, () => {
    const { core, holder } = valuesOf(node);
    const names = ['counter', 'never', 'max', 'arrow', 'list', 'numbers', 'map', 'bytes', 'view', 'given', 'text', 'instance', 'pair'];
    const found = json('jsprint', core, holder, ...names.map((name) => `subjects.${name}`), '-d', '0');
    const at = (name) => found[`subjects.${name}`].address;
    const place = (text, back = 0) => {
      const line = source.findLastIndex((one) => one.includes(text));
      return `${program}:${line + 1}:${source[line].indexOf('(', source[line].indexOf(text)) + 1 - back}`;
    };
    const run = (command, ...args) => normalised(stillcore(command, core, ...args)).trimEnd();
    const counter = place('function counter()');
    const never = place('function neverOnceCalled(');

    assert.equal(run('jsfunctions', '-n', 'counter', '-s', 'values.cjs'), `\
            FUNC  #FUNCS  NAME                                     FROM
${at('counter').padStart(16).replace(at('counter'), '<1>')}       2  counter                                  ${counter}`);
    assert.equal(run('jsfunctions', at('counter'), '-l'), '<1>\n<2>');
    const [row] = json('jsfunctions', core, '-n', 'neverOnceCalled', '-s', 'values.cjs');
    assert.deepEqual([row.function, row.count, row.name, row.from, row.script, row.code], [at('never'), 1, 'neverOnceCalled', never, program, null]);
    assert.deepEqual(Object.keys(row).sort(), ['code', 'count', 'from', 'function', 'name', 'script', 'shared']);

    assert.equal(run('jsfunction', at('counter')), `\
function: counter (${counter})
shared:   <1>
context:  <2>
script:   <3>
bytecode: <4>`);
    assert.match(run('jsfunction', at('never')), /^bytecode: none: it is compiled when it is called first/m);
    assert.equal(run('jsfunction', at('max')).split('\n')[0], 'function: max (builtin MathMax)');
    const about = json('jsfunction', core, at('counter'));
    assert.deepEqual(Object.keys(about).sort(), ['bytecode', 'code', 'context', 'from', 'name', 'script', 'shared']);
    assert.equal(json('jsfunctions', core, '-x', about.bytecode)[0].name, 'counter');

    const first = source.findIndex((one) => one.includes('function counter()'));
    assert.equal(run('jssource', at('counter'), '-n', '0'), [`file: ${program}`, '',
      ...source.slice(first, first + 4).map((text, n) => `${String(first + 1 + n).padStart(6)} ${text}`)].join('\n'));
    assert.deepEqual(json('jssource', core, at('counter'), '-n', '1'),
      { file: program, first, lines: source.slice(first - 1, first + 5) });
    const noSource = tried('jssource', core, at('max'));
    assert.equal(noSource.status, 3);
    assert.match(noSource.stderr, /has no source: max is builtin MathMax$/m);

    assert.equal(run('jsclosure', at('counter')).split('\n').slice(0, 5).join('\n'), `\
block <1>
  inBlock: 'in a block'
function makeCounter <2>
  step: [Object <3>]
  count: 42`.split('\n').slice(0, 5).join('\n'));
    const [held] = json('jsclosure', core, at('counter'));
    assert.deepEqual({ ...held, context: 0 }, { scope: 0, of: 'block', context: 0, name: 'inBlock', value: { ...held.value, type: 'string', text: "'in a block'" } });
    assert.match(run('jsprint', about.context, '-d', '1'), /^<BLOCK_CONTEXT> \[[^]*inBlock: 'in a block'/);

    assert.equal(run('jsarray', at('list'), '-i'), "0: <1> 'first'\n1: 42\n3: <2> [Object <2>]");
    assert.equal(run('jsarray', at('list'), '-l', '1', '-o', '1'), '42');
    assert.match(tried('jsarray', core, at('list'), '-l', '1').stderr, /these are 1 of 4: -l sets how many are listed, -o 1 goes on/);
    assert.equal(run('jsarray', at('numbers'), '-i'), '0: 0.5\n1: -0\n2: 3');
    assert.equal(run('jsarray', at('map')), '1\n<1> [Object <1>]');
    assert.deepEqual(json('jsarray', core, at('list')).map(({ key, value }) => [key, value.type, value.text]),
      [['0', 'string', "'first'"], ['1', 'number', '42'], ['3', 'object', '']]);
    assert.match(tried('jsarray', core, at('pair')).stderr, /has no elements: it is of class Object \(jsprop lists its properties\)/);
    assert.equal(run('jsprop', at('pair')), 'first: <1> [Object <1>]\na-b: 1');

    assert.equal(run('jsconstructor', at('instance')), 'Planted');
    assert.match(run('jsconstructor', at('instance'), '-v'), new RegExp(`^Planted \\(JSFunction: <1>\\) ${escaped(program)}:\\d+:\\d+$`));
    assert.deepEqual(Object.keys(json('jsconstructor', core, at('instance'))).sort(), ['from', 'function', 'name']);

    assert.equal(run('nodebuffer', at('bytes')), '<1> (13 bytes)\n<1>: 68 65 6c 6c 6f 2c 20 62 79 74 65 73 0a           hello, bytes.');
    assert.equal(json('nodebuffer', core, at('view')).hex, '0203');
    assert.match(tried('nodebuffer', core, at('given')).stderr, /is detached: its bytes were given away/);
    assert.match(tried('nodebuffer', core, at('list')).stderr, /has no bytes: it is \[Array 0x[0-9a-f]+\] and no Buffer/);

    // Every object there is understood, those of WebAssembly too: one that is not hides what lies behind it.
    const { gaps, begun, missing } = json('layout', core);
    assert.deepEqual([gaps, begun, missing], [0, 0, 0]);
    assert.match(run('strings', '--grep', '^a text to be found: .$'), /<1> +21 +'?a text to be found: \u2603'?$/m);
    assert.ok(json('strings', core, '--min', '21', '--grep', '^a text to be found: .$').length >= 1);
    assert.match(run('whatis', at('counter')), new RegExp(`<\\d+>: \\[Function: counter ${escaped(counter)}\\] \\(JS_FUNCTION, \\d+ bytes\\)`));
    assert.match(run('scripts', '-s', 'values.cjs'), new RegExp(`^ +SCRIPT +ID +LENGTH +NAME\\n +<1> +\\d+ +\\d+ +${escaped(program)}$`));
    const [script] = json('scripts', core, '-s', 'values.cjs');
    assert.deepEqual(Object.keys(script).sort(), ['id', 'length', 'name', 'script']);
    assert.equal(stillcore('jssource', core, script.script, '-l', '1').split('\n')[2], `     1 ${source[0]}`);
  });

}

for (const node of await nodes()) {
  test(`members, depth and the options of jsprint and inspect, on ${node.label}`, { skip: node.skip || noBinary }, () => {
    const { core, holder } = valuesOf(node);
    const found = json('jsprint', core, holder, ...['separator', 'pair', 'counter', 'text'].map((name) => `subjects.${name}`));
    const at = (name) => found[`subjects.${name}`].address;
    /** What each command prints, by one process for all of them. */
    const run = (...lines) => stillcore('autopsy', core, ...lines.flatMap((line) => ['-e', line, '-e', `jsprint ${at('separator')}`]))
      .split("'===='\n").slice(0, -1).map((text) => text.trimEnd());
    const subjects = `jsprint ${holder} subjects.`;
    assert.deepEqual(run(
      `${subjects}pair.first.second.third`, `jsprint ${holder} .subjects.list[3].a`, `${subjects}map.one`, `${subjects}map.2.two`,
      `${subjects}nothing subjects.pair.a-b`, `${subjects}pair -d 3`, `${subjects}text -l 6`,
      // With and without 0x, in mdb's form and behind a pipe.
      `jsprint ${at('pair').slice(2)} a-b`, `${at('pair').slice(2)}::jsprint a-b`, `jsprint ${at('pair')} first | jsprint second.third`,
      `inspect ${at('text')} -F`,
    ), [
      '3', '1', '1', '2', 'subjects.nothing: undefined\nsubjects.pair.a-b: 1', "{ first: { second: { third: 3 } }, 'a-b': 1 }",
      "'a text'... 15 more characters", '1', '1', '3', `${at('text')}: 'a text to be found: \u2603'`,
    ]);
    const [closed, one, addresses, based, counter] = run(`${subjects}pair -d 0`, `${subjects}pair -d 1`, `${subjects}pair -a -d 3`,
      `jsprint ${holder} values -b -d 1`, `inspect ${at('counter')} -m -s`);
    assert.match(closed, /^\[Object 0x[0-9a-f]+\]$/);
    assert.match(one, /^\{ first: \[Object 0x[0-9a-f]+\], 'a-b': 1 \}$/);
    assert.match(addresses, /^0x[0-9a-f]+: \{ first: 0x[0-9a-f]+: \{ second: 0x[0-9a-f]+: \{ third: 3 \} \}, 'a-b': 1 \}$/);
    assert.ok(based.split('\n').length > 50 && based.split('\n').every((line) => line.startsWith(`${holder}: `)));
    assert.match(counter, /^map 0x[0-9a-f]+: JS_FUNCTION, \d+ bytes/m);
    assert.match(counter, /^function counter\(\) \{\n/m);
    const tree = json('jsprint', core, at('pair'), '-d', '1');
    assert.deepEqual(tree, {
      type: 'object', address: at('pair'), class: 'Object', text: '',
      entries: [
        { key: 'first', value: { type: 'object', address: tree.entries[0].value.address, class: 'Object', text: '', closed: '' } },
        { key: "'a-b'", value: { type: 'number', text: '1' } },
      ],
    });
    const wrong = tried('jsprint', core, '0x1234561');
    assert.equal(wrong.status, 3);
    assert.match(wrong.stderr, /0x1234561 is no object of V8's heap \(whatis says what is there\)/);
    // Neither a pointer nor a small number.
    const nothing = tried('jsprint', core, '0x10');
    assert.deepEqual([nothing.status, nothing.stdout], [3, '']);
    assert.match(nothing.stderr, /0x10 is no object of V8's heap/);
  });
}

test('strings of a million parts, arrays and lists of ten million', { skip: noBinary }, async (t) => {
  const node = (await nodes()).findLast((one) => !one.skip);
  if (!node) return t.skip('there is no Node to try it on');
  const { core } = coreOf(node, join(root, '__test__', 'programs', 'deep.cjs'), '--max-old-space-size=4096');
  const [deep] = json('findjsinstances', core, 'Deep').instances;
  const run = (...args) => {
    const begin = performance.now();
    const text = stillcore(...args).trimEnd();
    assert.ok(performance.now() - begin < 20_000, `${args.join(' ')} took ${performance.now() - begin} ms`);
    return text;
  };
  const digits = Array.from({ length: 1_000_000 }, (_, n) => n % 10);
  assert.equal(run('jsprint', core, deep, 'left', '-l', '2000000'), `'begin${digits.join('')}'`);
  assert.equal(run('jsprint', core, deep, 'right', '-l', '2000000'), `'${digits.toReversed().join('')}end'`);
  assert.equal(run('jsprint', core, deep, 'sliced'), `'in${digits.slice(0, 35).join('')}'`);
  assert.equal(run('jsprint', core, deep, 'left'), `'begin${digits.slice(0, 195).join('')}'... 999805 more characters`);
  assert.match(run('jsprint', core, deep, 'array', '-l', '3'), /^\[ 7, 7, 7, \.\.\. 9999997 more items \]$/);
  assert.equal(run('jsprint', core, deep, 'array[9999999]'), "'last'");
  assert.equal(run('jsprint', core, deep, 'doubles'), '[ <9999999 empty items>, 0.5 ]');
  const array = json('jsprint', core, deep, 'array', '-d', '0').array.address;
  assert.equal(run('jsarray', core, array).split('\n').length, 100_000);
  assert.match(run('jsarray', core, array, '-o', '9999998', '-i'), /^9999998: 7\n9999999: 0x[0-9a-f]+ 'last'$/);
  // What is huge is bounded, in memory too, whatever is asked for: beside what is mapped there are 600 MB.
  const bounded = (command, ...args) => {
    const files = statSync(core).size + statSync(node.path).size + statSync(binary).size;
    const done = spawnSync('sh', ['-c', `ulimit -v ${Math.ceil((files + 600e6) / 1024)}; exec "$0" "$@"`, binary, command, core, ...args], { encoding: 'utf8', maxBuffer: 1 << 28 });
    assert.equal(done.status, 0, done.stderr);
    return done;
  };
  const most = 1 << 24;
  const cut = bounded('jsprint', deep, 'huge', '-l', '1000000000');
  assert.equal(cut.stdout.trimEnd(), `'${'0123456789'.repeat(most / 10 + 1).slice(0, most)}'... ${5e8 - most} more characters`);
  const [, huge] = /at most 16777216 characters are shown at a time: v8str (0x[0-9a-f]+) -o 16777216 goes on/.exec(cut.stderr);
  assert.equal(bounded('v8str', huge, '-o', '499999995').stdout, '56789\n');
  const whole = bounded('v8str', huge, '-o', `${most}`);
  assert.equal(whole.stdout.length, most + 1);
  assert.ok(whole.stdout.startsWith('6789012'));
  assert.match(whole.stderr, /these are 16777216 of 500000000 characters: -o 33554432 goes on/);
  assert.match(bounded('jsprint', deep, 'promises', '-l', '100000000').stdout, /\n {2}\.\.\. 9\d{5} more items\n\]$/m);
  // As deep as it goes: 64 levels.
  assert.equal(run('jsprint', core, deep, 'list', '-d', '1000000').match(/n: 99999\d\d/g).length, 64);
  assert.equal(run('jsprint', core, deep, 'nested', '-d', '1000000').match(/\[/g).length, 65);
});
