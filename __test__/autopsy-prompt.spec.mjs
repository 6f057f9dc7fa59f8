// The prompt of `stillcore autopsy`: somebody who types at it, every word of mdb_v8 and llnode, commands from -e and from a
// pipe; and what it says of Node - the process, handles, requests, timers, promises, modules - against what the live process
// said of itself in the same turn of its event loop (__test__/programs/busy.cjs).
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import {
  chmodSync, closeSync, copyFileSync, mkdirSync, mkdtempSync, openSync, readFileSync, readSync, readdirSync, renameSync, statSync, writeFileSync, writeSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { test } from 'node:test';
import { pathToFileURL } from 'node:url';
import { binary, folder, noBinary, root } from './support/autopsy.mjs';
import { nodes } from './support/nodes.mjs';

const program = join(root, '__test__', 'programs', 'busy.cjs');
const works = (command) => spawnSync(command, ['--version']).status === 0;

/** No history but in a folder of the test, no pager and no colours but those that a test asks for. */
const environment = (more = {}) => ({ ...process.env, XDG_STATE_HOME: folder(), PAGER: '', NO_COLOR: '', TERM: 'xterm', LANG: 'C.UTF-8', ...more });

function run(args, options = {}) {
  const done = spawnSync(binary, args, { encoding: 'utf8', maxBuffer: 1 << 28, timeout: 60_000, env: environment(), ...options });
  assert.equal(done.signal, null, `stillcore ${args.join(' ')} was killed: ${done.stderr}`);
  return done;
}

function stillcore(...args) {
  const done = run(args);
  assert.equal(done.status, 0, `stillcore ${args.join(' ')}: ${done.stderr}`);
  return done.stdout;
}

const json = (command, core, ...args) => JSON.parse(stillcore(command, core, ...args, '--json'));

/** One core of busy.cjs for each Node, made when it is first asked for. */
const cores = new Map();
function busy(node) {
  if (!cores.has(node.major)) {
    const place = folder();
    execFileSync('mkfifo', [join(place, 'a.fifo')]);
    const env = { ...process.env, NODE_TEST_CONTEXT: undefined, NODE_OPTIONS: '--max-old-space-size=900', SECRET: 'not to be shown' };
    const done = spawnSync(node.path, ['--no-deprecation', program, place, '--an-argument'], { encoding: 'utf8', env, timeout: 60_000 });
    const made = readdirSync(place).find((name) => name.startsWith('core'));
    assert.ok(made, done.stderr);
    const core = join(place, 'busy.core');
    renameSync(join(place, made, 'core'), core);
    cores.set(node.major, { core, said: JSON.parse(done.stdout) });
  }
  return cores.get(node.major);
}

const all = await nodes();
const newest = all.findLast((node) => !node.skip);
const skipNewest = noBinary || (newest ? false : 'there is no Node here');

/** Types at a terminal; what came in each step. */
function typed(t, args, steps, { env = {}, rows, columns } = {}) {
  const job = { argv: [binary, ...args], env: environment({ NO_COLOR: undefined, ...env }), steps, rows, columns };
  for (const name of Object.keys(job.env)) if (job.env[name] === undefined) delete job.env[name];
  const done = spawnSync('python3', [join(root, '__test__', 'support', 'typist.py')], { input: JSON.stringify(job), encoding: 'utf8', timeout: 120_000 });
  assert.equal(done.status, 0, done.stderr);
  const { said, failed, code } = JSON.parse(done.stdout);
  assert.equal(failed, null, `step ${failed} (${JSON.stringify(steps[failed])}) did not come: ${JSON.stringify(said)}`);
  return { said, code, env: job.env };
}

const noPython = works('python3') ? false : 'there is no python3, which has terminals';
const prompt = { expect: '> $' };

test('somebody types at the prompt', { skip: skipNewest || noPython }, (t) => {
  const { core } = busy(newest);
  const [child] = json('findjsinstances', core, 'ChildProcess').instances;
  const { said, code, env } = typed(t, ['autopsy', core], [
    { expect: 'help lists the commands.*> $' },
    { send: 'nodei\t', expect: 'nodeinfo' },
    { send: '\r', expect: 'uptime.*> $' },
    { send: 'findjsinstances ChildPro\t', expect: 'ChildProcess' },
    { send: '\r', expect: `${child}.*> $` },
    { send: `jsprint ${child.slice(0, -2)}\t`, expect: child },
    { send: ' -d 0\r', expect: 'ChildProcess.*> $' },
    { send: 'findjsobjects --con\t', expect: '--constructor' },
    { send: '\u0003', expect: '> $' },
    // The line before the one that was given up.
    { send: '\u001b[A\u001b[A', expect: 'findjsinstances ChildProcess' },
    { send: '\r', expect: `${child}.*> $` },
    { send: 'help jsprint\r', expect: 'MEMBER.*(> |q --)$' },
    { send: 'q', expect: '(> |jsprint)' },
    { send: '\r', expect: '> $' },
    { send: 'nonsense\r', expect: 'there is no command.*> $' },
    { send: '\u0004' },
  ]);
  assert.equal(code, 0);
  assert.match(said[2], new RegExp(`version +${newest.version.replaceAll('.', '\\.')}|version +v${newest.version}`));
  assert.doesNotMatch(said.join(''), /not to be shown/);
  const history = join(env.XDG_STATE_HOME, 'stillcore', 'history');
  assert.equal(statSync(history).mode & 0o777, 0o600);
  assert.match(readFileSync(history, 'utf8'), /^findjsinstances ChildProcess$/m);
});

test('the prompt shows a page at a time, and colours, where it should', { skip: skipNewest || noPython }, (t) => {
  const { core } = busy(newest);
  const long = [prompt, { send: 'findjsobjects\r', expect: 'more lines.*q --' }];
  let { said } = typed(t, ['autopsy', core], [...long, { send: ' ', expect: 'more lines.*q --' }, { send: '\r', expect: 'more lines.*q --' }, { send: 'q', expect: '> $' }, { send: 'quit\r' }], { rows: 20 });
  assert.ok(said[1].split('\n').length <= 22, 'a page is no longer than the terminal');
  assert.match(said[1], /\u001b\[36m0x[0-9a-f]+\u001b\[0m/);
  ({ said } = typed(t, ['autopsy', core], [...long.slice(0, 1), { send: 'findjsobjects\r', expect: 'GEREADET.*> $' }, { send: 'quit\r' }], { rows: 20, env: { PAGER: 'tail -n 1; echo GEREADET' } }));
  ({ said } = typed(t, ['autopsy', core], [prompt, { send: 'isolates\r', expect: 'main.*> $' }, { send: 'set color on\r', expect: '> $' }, { send: 'isolates\r', expect: 'main.*> $' }, { send: 'quit\r' }], { env: { NO_COLOR: '1' } }));
  assert.doesNotMatch(said[1], /\u001b\[36m/);
  assert.match(said[3], /\u001b\[36m/);
  // In a pipe there are neither pages nor colours.
  const piped = run(['autopsy', core], { input: 'findjsobjects\n' });
  assert.ok(piped.stdout.split('\n').length > 50);
  assert.doesNotMatch(piped.stdout, /\u001b/);
});

test('Ctrl-C stops a command and keeps the prompt', { skip: skipNewest || noPython }, (t) => {
  const { core } = busy(newest);
  const { said, code } = typed(t, ['autopsy', core], [
    prompt,
    // Hours of work: all references to each of the objects.
    { send: 'findjsobjects -l | jsfindrefs -l 8\r', expect: '\n' },
    { send: '\u0003', pause: 1.5, expect: '(stopped|part of the answer).*> $' },
    { send: 'isolates\r', expect: 'main.*> $' },
    { send: 'isolates ! sleep 30\r', expect: '\n' },
    { send: '\u0003', pause: 0.7, expect: '> $', seconds: 8 },
    { send: 'isolates\r', expect: 'main.*> $' },
    { send: '\u0004' },
  ]);
  assert.equal(code, 0);
  assert.doesNotMatch(said[3], /stopped|part of the answer/);
});

test('control characters of the heap do not reach the terminal', { skip: skipNewest || noPython }, (t) => {
  const { core } = busy(newest);
  const { said } = typed(t, ['autopsy', core], [
    prompt,
    { send: "findrefs -n text | jsprint\r", expect: 'red.*> $' },
    { send: "strings --min 3 --grep 'red'\r", expect: 'red.*> $' },
    { send: 'findjsinstances Evi\t\t', expect: 'Evi' },
    { send: '\u0015findjsobjects -c Evi\t\t', expect: 'Evi' },
    { send: '\u0015quit\r' },
  ], { env: { NO_COLOR: '1' }, rows: 2000 });
  for (const text of said) assert.doesNotMatch(text, /\u0007(?!$)|\u001b\]0|\u001b\[31m|\u202e/);
  const lines = stillcore('autopsy', core, '-e', "findrefs -n text --json", '-e', "strings --min 3 --grep red --json");
  assert.doesNotMatch(lines, /[\u001b\u0007\u202e]/);
  for (const line of lines.trim().split('\n')) JSON.parse(line);
});

test('-e and pipes: all lines are run, and the exit code tells of the first that failed', { skip: skipNewest }, () => {
  const { core } = busy(newest);
  const version = `v${newest.version}`;
  assert.match(stillcore('autopsy', core, '-e', 'nodeinfo'), new RegExp(version));
  assert.match(stillcore('autopsy', core, '-ex', 'nodeinfo', '-e', 'isolates'), /ISOLATE/);
  for (const [lines, status] of [[['nodeinfo'], 0], [['nonsense', 'nodeinfo'], 2], [['jsprint 0x12345', 'nodeinfo', 'nonsense'], 3], [['jsprint', 'nodeinfo'], 2]]) {
    const evaluated = run(['autopsy', core, ...lines.flatMap((line) => ['-e', line])]);
    const piped = run(['autopsy', core], { input: `${lines.join('\n')}\n` });
    for (const done of [evaluated, piped]) {
      assert.equal(done.status, status, `${lines}: ${done.stderr}`);
      assert.match(done.stdout, new RegExp(version), 'the others are run');
      assert.equal(done.stderr === '', status === 0);
    }
  }
  assert.equal(run(['autopsy', core], { input: '# a comment\n\nquit\nnonsense\n' }).status, 0);
  // One JSON value a line.
  const values = stillcore('autopsy', core, '--json', '-e', 'isolates', '-e', 'nodeinfo').trim().split('\n').map((line) => JSON.parse(line));
  assert.deepEqual(values.map((value) => Array.isArray(value)), [true, false]);
  assert.equal(values[1].version, version);
  // As gdb, lldb and coredumpctl call a debugger.
  for (const args of [[newest.path, core], [newest.path, '-c', core], ['-c', core], [core]]) {
    assert.match(stillcore('autopsy', ...args, '-e', 'nodeinfo'), new RegExp(version), args.join(' '));
  }
  assert.match(stillcore(newest.path, '-c', core, '-e', 'nodeinfo'), new RegExp(version));
});

test('a word that is mistyped is told what is near it', { skip: skipNewest }, () => {
  const { core } = busy(newest);
  for (const [line, said] of [
    ['jsprnt 0x1', /there is no command "jsprnt"; there are? .*jsprint/],
    ['findjsinstances WorkrOnly', /there are no objects of the class WorkrOnly; there is WorkerOnly/],
    ['findjsobjects -c WorkrOnly', /there are no objects of the class WorkrOnly; there is WorkerOnly/],
    ['findjsobjects -p noSuchProperty', /no object has a property noSuchProperty/],
    ['findjsobjects -c Timeout -p noSuchProperty -l', /no object of the class Timeout has a property noSuchProperty/],
  ]) assert.match(run(['autopsy', core, '-e', line]).stderr, said, line);
});

test('docs/autopsy.md knows every field of the JSON', { skip: skipNewest }, () => {
  const { core } = busy(newest);
  const docs = readFileSync(join(root, 'docs', 'autopsy.md'), 'utf8').match(/## As JSON\n([^]*?)\n## /)[1];
  const words = (text) => [...text.matchAll(/`(\w+)`/g)].map(([, word]) => word);
  const ofValues = words(docs.match(/A \*value\* has[^]*?\n\n/)[0]);
  const rows = new Map();
  for (const [, commands, fields] of docs.matchAll(/^\| (`.*?) \| (.*) \|$/gm)) for (const name of words(commands)) rows.set(name, words(fields));
  const object = json('findjsinstances', core, 'ChildProcess', '--isolate', '0').instances[0];
  const fn = json('jsfunctions', core, '-n', 'waitsForDatabase')[0].function;
  const [frame] = stillcore('walk', core, 'jsframe').split('\n');
  const buffer = json('findjsinstances', core, 'Buffer', '-n', '1').instances[0];
  const string = json('strings', core, '--min', '20')[0].address;
  const lines = [
    'jsstack', `jsframe ${frame}`, `jsprint ${object} -d 3`, `inspect ${object}`, `jsprop ${object}`, `jsconstructor ${object}`, `nodebuffer ${buffer}`, `v8str ${string}`,
    'findjsobjects', `findjsobjects ${object}`, 'findjsinstances ChildProcess', `jsfindrefs ${object}`, `jsfindrefs ${object} -r`, 'jsfindrefs -n spawnfile', 'jsfindrefs -s sleep',
    'jsfunctions', 'jsfunctions -n waits -l', `jsfunction ${fn}`, `jssource ${fn}`, `jsclosure ${fn}`, 'scripts', 'nodeinfo', 'isolates', 'handles', 'requests', 'timers', 'promises', 'promises -a',
    'jsmodules', 'heap', `whatis ${object}`, `whatis ${frame}`, 'whatis 0', 'strings --min 100', 'layout', `v8type ${object}`, `v8code ${fn}`, `v8print ${object}`, `v8internal ${object}`,
  ];
  const answers = stillcore('autopsy', core, '--json', '--isolate', '0', ...lines.flatMap((line) => ['-e', line])).trim().split('\n');
  assert.equal(answers.length, lines.length);
  const unknown = new Set();
  for (const [index, line] of lines.entries()) {
    const name = line.split(' ')[0];
    const known = new Set([...rows.get(name) ?? [], ...ofValues]);
    assert.ok(rows.has(name), name);
    const look = (value) => {
      if (Array.isArray(value)) return value.forEach(look);
      if (value === null || typeof value !== 'object') return;
      for (const [key, inner] of Object.entries(value)) {
        if (!known.has(key)) unknown.add(`${name}: ${key}`);
        // What Node itself says of its release, versions and features.
        if (!(name === 'nodeinfo' && /^(release|versions|features)$/.test(key))) look(inner);
      }
    };
    look(JSON.parse(answers[index]));
  }
  assert.deepEqual([...unknown], []);
});

test('a core that is cut off so early that no V8 is in it says that it is', { skip: skipNewest }, () => {
  const cut = join(folder(), 'cut');
  const from = openSync(busy(newest).core);
  const start = Buffer.alloc(1 << 16);
  readSync(from, start, 0, start.length, 0);
  closeSync(from);
  writeFileSync(cut, start);
  const done = run(['jsstack', cut]);
  assert.equal(done.status, 3);
  assert.match(done.stderr, /the core is cut off/);
});

test('NODE is believed by its build-id alone', { skip: skipNewest || (all.filter((node) => !node.skip).length < 2 && 'there is one Node here only') }, () => {
  const { core } = busy(newest);
  const other = all.find((node) => !node.skip && node !== newest);
  const refused = run(['autopsy', other.path, core, '-e', 'nodeinfo']);
  assert.equal(refused.status, 3);
  assert.match(refused.stderr, /build-id/);
  assert.equal(refused.stdout, '');
  // Where there is none it is said what to do.
  const place = folder();
  const copy = join(place, 'a-copy-of-node');
  copyFileSync(newest.path, copy);
  const script = 'require(process.argv[1]).capture({ method: "direct", what: "core", directory: process.argv[2] }).then(() => process.exit(0))';
  execFileSync(copy, ['-e', script, root, place], { env: { ...process.env, NODE_TEST_CONTEXT: undefined } });
  const orphan = join(place, readdirSync(place).find((name) => name.startsWith('core')), 'core');
  const moved = join(place, 'elsewhere');
  renameSync(copy, moved);
  for (const args of [['jsstack', orphan], ['autopsy', orphan, '-e', 'jsstack'], ['autopsy', other.path, orphan, '-e', 'jsstack']]) {
    const lost = run(args);
    assert.equal(lost.status, 3);
    assert.match(lost.stderr, /a-copy-of-node with build-id [0-9a-f]{40}.*stillcore autopsy NODE CORE.*--sysroot/, args.join(' '));
  }
  assert.match(stillcore('autopsy', moved, orphan, '-e', 'nodeinfo'), new RegExp(newest.version));
  // Below a sysroot it is found, whatever lies at the recorded path here; without one it is said what to do.
  const inside = join(place, newest.path);
  mkdirSync(dirname(inside), { recursive: true });
  copyFileSync(newest.path, inside);
  chmodSync(inside, 0o644);
  assert.match(stillcore('autopsy', '--sysroot', place, core, '-e', 'nodeinfo'), new RegExp(newest.version));
});

test('every word of mdb_v8 and llnode works, or names what to use instead', { skip: skipNewest }, () => {
  const { core } = busy(newest);
  const address = (name) => json('findjsinstances', core, name, '--isolate', '0').instances[0].slice(2);
  const object = address('ChildProcess');
  const member = (value, name) => json('jsprint', core, value, name)[name].address.slice(2);
  const array = member(object, 'spawnargs');
  const functions = json('jsfunctions', core, '-n', 'waitsForDatabase', '--isolate', '0');
  const fn = JSON.stringify(functions).match(/0x([0-9a-f]+)/)[1];
  const buffer = address('Buffer') ?? address('Uint8Array');
  const [frame] = stillcore('autopsy', core, '--isolate', '0', '-e', '::walk jsframe').split('\n');
  const [{ name }] = json('jsframe', core, frame).frames;
  const words = (value) => json('v8print', core, value).words;
  const context = words(fn).find((word) => word.field.includes('context'))?.word.slice(2);
  const string = words(array).find((word) => word.field === 'elements').word.slice(2);
  const first = json('v8array', core, string)[0].slice(2);

  const working = [
    // mdb_v8, the commands and their flags as its source has them.
    '::load v8', '::v8load', '::v8load 6.8',
    '::findjsobjects', '::findjsobjects -v', '::findjsobjects -b', '::findjsobjects -a', '::findjsobjects -p spawnfile', '::findjsobjects -c ChildProcess',
    '::findjsobjects -c ChildProcess -l', '::findjsobjects -k props', `${object}::findjsobjects`, `${object}::findjsobjects -r`, `${object}::findjsobjects -m`, '::findjsobjects -r',
    `${object}::findjsobjects -vb`, '::findjsobjects -c ChildProcess | ::findjsobjects | ::jsprint spawnfile',
    `${object}::jsfindrefs`, `${object}::jsfindrefs -v`, `${object}::jsfindrefs -d`, `${object}::jsfindrefs -dv -l 2`,
    `${fn}::jsclosure`, `${array}::jsarray`, `${array}::jsarray -i`, `${object}::jsconstructor`, `${object}::jsconstructor -v`,
    `${frame}::jsframe`, `${frame}::jsframe -aiv`, `${frame}::jsframe -n 3`, `${frame}::jsframe -f ${name}`, `${frame}::jsframe -p file`,
    '::jsstack', '::jsstack -a', '::jsstack -v', '::jsstack -av', '::jsstack -vn0', '::jsstack -f leave', '::jsstack -p this', '::jsstack -p file', '::jsstack -p posn', '::jsstack -p arg1',
    `${fn}::jsfunction`, '::jsfunctions', '::jsfunctions -X', '::jsfunctions -s busy.cjs', '::jsfunctions -n waitsFor', `::jsfunctions -x ${fn}`, `${fn}::jsfunctions -l`, '::jsfunctions -n waitsForDatabase -l',
    `${object}::jsprint`, `${object}::jsprint -a`, `${object}::jsprint -b`, `${object}::jsprint -d 3`, `${object}::jsprint -ad1`, `${object}::jsprint spawnfile`, `${object}::jsprint spawnfile pid`,
    `${object}::jsprint -N 10`, `${object}::jsprint -v`, `${fn}::jssource`, `${fn}::jssource -n 2`, `${buffer}::nodebuffer`, `${buffer}::nodebuffer -a`, `${buffer}::nodebuffer -f`,
    `${array}::walk jselement`, `${array}::walk jselement | ::jsprint`, `${object}::walk jsprop`, '::walk jsframe', '::walk jsframe | ::jsframe', `${array}::jselement`, `${object}::jsprop`,
    '::v8classes', '::v8frametypes', '::v8types', `${string}::v8array`, `${string}::v8array -i`, `${fn}::v8code`, `${fn}::v8code -d`, `${context}::v8context`, `${context}::v8context -d`,
    `${fn}::v8function`, `${fn}::v8function -d`, `${object}::v8internal`, `${object}::v8print`, `${fn}::v8print JSFunction`, `${first}::v8str`, `${first}::v8str -v`, `${first}::v8str -N 20`, `${first}::v8str -vr`,
    `${context}::v8scopeinfo`, `${object}::v8type`, `${object}::v8whatis`, `${object}::v8whatis -v`, `${object}::v8whatis -d 4096`, '::v8warnings', '::dcmds', '::walkers', '::help jsprint', '$C', `${object}::whatis`,
    '::jsstack ! grep leave', `${object}::jsprint ! grep spawn | head -1`, '! true',
    // llnode 4.0.0.
    'v8 bt', 'v8 bt 3', `v8 print 0x${object}`, `v8 inspect ${object}`, `v8 inspect -F ${object}`, `v8 inspect --full-string ${object}`, `v8 inspect -m ${object}`, `v8 inspect --print-map ${object}`,
    `v8 inspect -s ${fn}`, `v8 inspect --print-source ${fn}`, `v8 inspect -l 3 ${array}`, `v8 inspect --length 3 ${array}`, 'v8 source list', 'v8 source list -l 3', 'v8 findjsobjects', 'v8 findjsobjects -d',
    'v8 findjsobjects --detailed', 'v8 findjsinstances ChildProcess', 'v8 findjsinstances -v ChildProcess', 'v8 findjsinstances --verbose -n 1 Object', 'v8 findjsinstances --output-limit 2 Object',
    'v8 findjsinstances -n 0 ChildProcess', 'v8 findjsinstances -F -m -l 5 ChildProcess', `v8 findrefs ${object}`, `v8 findrefs -v ${object}`, `v8 findrefs --value ${object}`, 'v8 findrefs -n spawnfile', 'v8 findrefs --name spawnfile',
    'v8 findrefs -s sleep', 'v8 findrefs --string sleep', `v8 findrefs -r ${object}`, `v8 findrefs --recursive ${object}`, 'v8 getactivehandles', 'v8 getactiverequests', 'v8 nodeinfo', 'v8 settings set color off',
    'v8 settings set color auto', 'v8', 'v8 help', 'jsstack', `jsprint 0x${object}`, 'jssource', 'findjsobjects', 'findjsinstances ChildProcess', 'help', 'help v8 bt', 'help ::jsstack',
  ];
  const silent = /load|settings set|v8warnings|-f leave|! true|-vn0$|jsfindrefs|-x /;
  const replaced = ['::stack', '::regs', '$r', '::status', '::findleaks', '::ugrep 12', '::umastat', '::v8field JSArray length 8', '::mappings', 'v8 settings set tree-padding 4',
    'bt', 'thread backtrace all', 'info threads', 'frame 1', 'process status', 'x/8gx 0x1000', `${array}::v8array`];
  const lines = [...working, ...replaced];
  const script = lines.flatMap((line, index) => [line, `! echo @@${index}@@`]).join('\n');
  const done = spawnSync('sh', ['-c', 'exec "$0" autopsy "$1" --isolate 0 2>&1', binary, core], { input: `${script}\n`, encoding: 'utf8', env: environment(), maxBuffer: 1 << 28, timeout: 100_000 });
  assert.equal(done.signal, null);
  const answers = done.stdout.split(/@@\d+@@\n/);
  assert.equal(answers.length, lines.length + 1, answers.at(-1));
  const failed = [];
  for (const [index, line] of lines.entries()) {
    const said = answers[index];
    if (index >= working.length) {
      if (!/^stillcore: .*(jsstack|stillcore threads|stillcore info|findjsobjects|jsfindrefs|heap|layout|stillcore memory|jsprint|v8internal|jsarray)/.test(said)) failed.push([line, said]);
    } else if (/^stillcore: (?!note)/m.test(said) || (said === '' && !silent.test(line))) failed.push([line, said]);
  }
  assert.deepEqual(failed, []);
  // The same meaning, and not only accepted.
  const answer = (line) => answers[lines.indexOf(line)];
  assert.equal(answer(`${object}::jsprint spawnfile`), "'sleep'\n");
  assert.ok(answer('::jsfunctions -n waitsForDatabase -l').split('\n').includes(`0x${fn}`));
  assert.equal(answer('::findjsobjects -c ChildProcess | ::findjsobjects | ::jsprint spawnfile'), "'sleep'\n");
  assert.equal(answer(`${array}::walk jselement | ::jsprint`), "'sleep'\n'600'\n");
  assert.equal(answer('v8 bt'), answer('::jsstack'));
  assert.equal(answer(`v8 print 0x${object}`), answer(`${object}::jsprint`));
  assert.match(answer('v8 source list'), /^file: .*index\.js\n[^]*native\.begin\(/);
  assert.match(answer('::findjsobjects -r'), new RegExp(`^0x${object}:\n  0x`));
});

for (const node of all) {
  const skip = node.skip || noBinary;

  test(`nodeinfo knows the process as it knew itself, on ${node.label}`, { skip }, () => {
    const { core, said } = busy(node);
    const info = json('nodeinfo', core);
    assert.deepEqual([info.version, info.pid, info.argv, info.execArgv, info.execPath, info.NODE_OPTIONS, info.release.name],
      [said.version, said.pid, said.argv, said.execArgv, said.execPath, said.options, said.release]);
    assert.ok(Math.abs(info.uptime - said.uptime) < 2, `${info.uptime} ${said.uptime}`);
    assert.ok(Math.abs(Date.parse(info.started) - said.timeOrigin) <= 1, `${info.started} ${said.timeOrigin}`);
    const text = stillcore('nodeinfo', core);
    assert.match(text, /uptime +\d+\.\d+ s/);
    // Both times in the same words, and no version without a number.
    const [captured, started] = ['captured', 'started'].map((name) => new RegExp(`^${name} +(.*)$`, 'm').exec(text)[1]);
    for (const [time, told] of [[captured, info.captured], [started, info.started]]) assert.deepEqual([time, new Date(time).toISOString()], [told, time]);
    assert.doesNotMatch(text, / ,/);
    assert.doesNotMatch(text + JSON.stringify(info), /not to be shown/);
    assert.equal(json('nodeinfo', core, '--env').env.SECRET, 'not to be shown');
    // Without our own note the event loop's clock is the last that is known.
    const other = withoutItsTime(core, () => json('nodeinfo', core));
    assert.equal(other.uptimeFrom, 'event loop');
    assert.ok(Math.abs(other.uptime - said.uptime) < 0.5, `${other.uptime} ${said.uptime}`);
  });

  test(`handles and requests are those of getActiveResourcesInfo(), on ${node.label}`, { skip }, () => {
    const { core, said } = busy(node);
    const handles = json('handles', core, '--isolate', '0');
    const requests = json('requests', core, '--isolate', '0');
    const beyond = new Set(['FileHandle', 'ReadStream', 'WriteStream', 'Worker']);
    const mine = [...requests, ...handles.filter((one) => !beyond.has(one.resource))].map((one) => one.resource).sort();
    // A worker's port is a handle in the core and none for Node: it has no object of JavaScript's own there.
    assert.deepEqual(mine.filter((one) => one !== 'MessagePort'), said.resources.filter((one) => !['Timeout', 'Immediate', 'MessagePort'].includes(one)).sort());
    const find = (resource, more = () => true) => {
      const found = handles.filter((one) => one.resource === resource && more(one));
      assert.equal(found.length, 1, `${resource}: ${JSON.stringify(handles)}`);
      return found[0];
    };
    // The port that the system chose for port 0 is in the kernel's tables alone.
    assert.equal(find('TCPServerWrap', (one) => one.fd === said.fds.server).local, '127.0.0.1, a port that the system chose');
    const client = find('TCPSocketWrap', (one) => one.fd === said.fds.client);
    assert.equal(client.local, `127.0.0.1:${said.ports.client}`);
    const accepted = find('TCPSocketWrap', (one) => one.remote === `127.0.0.1:${said.remotePort}`);
    assert.ok(accepted.fd > 2 && accepted.active);
    assert.equal(handles.filter((one) => one.method === 'GET' && one.url === '/hangs').length, 2, 'both ends of the request');
    const child = find('ProcessWrap');
    assert.deepEqual([child.pid, child.command], [said.child, ['sleep', '600']]);
    assert.equal(find('FileHandle', (one) => one.fd === said.fds.file).fd, said.fds.file);
    assert.equal(find('Worker').threadId, said.worker);
    assert.equal(find('FSEventWrap').name, said.argv[2]);
    assert.ok(find('UDPWrap').fd > 2);
    assert.equal(handles.filter((one) => one.resource === 'PipeWrap' && one.local?.endsWith('a.socket')).length, 1);
    const signal = json('handles', core, '--isolate', '0', '-a').find((one) => one.class === 'Signal');
    assert.equal(signal.signal, 12);
    const operations = requests.filter((one) => one.type === 'fs').map((one) => `${one.operation} ${basename(one.name ?? '')}`.trim()).sort();
    assert.ok(operations.includes('stat busy.cjs') && operations.includes('open a.fifo'), JSON.stringify(requests));
    assert.equal(requests.find((one) => one.type === 'getaddrinfo').name, 'localhost');
  });

  test(`timers say what is called, and when, on ${node.label}`, { skip }, () => {
    const { core } = busy(node);
    const timers = json('timers', core, '--isolate', '0');
    const named = (name) => timers.filter((one) => one.callback.text.includes(name));
    const [interval, timeout, unreferenced, immediate] = ['everyMillion', 'inHalfAMillion', 'unreferencedTimer', 'onImmediate'].map((name) => {
      assert.equal(named(name).length, 1, `${name}: ${JSON.stringify(timers)}`);
      return named(name)[0];
    });
    assert.deepEqual([interval.repeat, interval.after, timeout.after, timeout.repeat], [1e6, 1e6, 5e5, null]);
    assert.deepEqual([timeout.referenced, unreferenced.referenced], [true, false]);
    assert.equal(immediate.class, 'Immediate');
    assert.equal(named('clearedTimer').length, 0);
    // They were set a second ago or so.
    for (const timer of [interval, timeout, unreferenced]) assert.ok(timer.due > timer.after - 20_000 && timer.due <= timer.after, JSON.stringify(timer));
    // Thousands of one function are one line, but each is there for a pipe, for -a and in JSON.
    assert.equal(named('oneOfMany').length, 2000);
    const lines = (...args) => stillcore('timers', core, '--isolate', '0', ...args).split('\n').filter((line) => line.includes('oneOfMany'));
    const [told, ...more] = lines();
    assert.deepEqual(more, []);
    const [, from, to, first] = /^2000 of them, in ([\d.]+) s to in ([\d.]+) s, the first (0x[0-9a-f]+): \[Function: oneOfMany /.exec(told) ?? assert.fail(told);
    assert.ok(Math.abs(to - from - 1999) < 1, told);
    assert.equal(first, named('oneOfMany')[0].object);
    assert.equal(lines('-a').length, 2000);
    assert.equal(stillcore('autopsy', core, '-e', 'timers --isolate 0 | jsprint _idleTimeout').trimEnd().split('\n').length, timers.length);
    assert.equal(json('timers', core, '--isolate', '1').filter((one) => one.callback.text.includes('inWorker')).length, 1);
  });

  test(`promises tell what awaits them, on ${node.label}`, { skip }, () => {
    const { core } = busy(node);
    const source = readFileSync(program, 'utf8').split('\n');
    const line = (text) => source.findIndex((one) => one.includes(text)) + 1;
    const { promises } = json('promises', core, '--isolate', '0');
    const chains = promises.flatMap((promise) => promise.awaitedBy).map((chain) => chain.join(' < '));
    assert.ok(chains.some((chain) => chain.startsWith(`waitsForDatabase ${program}:${line('await query;')}:`) && chain.includes(`handlesRequest ${program}:${line('await waitsForDatabase')}:`)), JSON.stringify(chains));
  });

  test(`modules --js are those of require.cache and of the ES modules' graph, on ${node.label}`, { skip }, () => {
    const { core, said } = busy(node);
    const modules = json('modules', core, '--js', '--isolate', '0');
    // What the capture itself needs is loaded only after the process had spoken.
    const common = modules.filter((one) => one.kind === 'cjs' && one.name.includes('__test__')).map((one) => one.name);
    assert.deepEqual(common.sort(), said.cache.sort());
    const states = Object.fromEntries(modules.filter((one) => one.kind === 'esm' && one.name.startsWith('file:')).map((one) => [basename(one.name), one.status]));
    const base = pathToFileURL(join(root, '__test__', 'programs', 'modules')).href;
    assert.ok(modules.some((one) => one.name === `${base}/circle-a.mjs`));
    assert.deepEqual({ a: states['circle-a.mjs'], b: states['circle-b.mjs'], throws: states['throws.mjs'], waits: states['waits.mjs'] },
      { a: 'evaluated', b: 'evaluated', throws: 'errored', waits: 'evaluating-async' }, JSON.stringify(modules));
    assert.match(modules.find((one) => one.name.endsWith('throws.mjs')).error, /thrown by a module/);
  });

  test(`isolates and layout, on ${node.label}`, { skip }, () => {
    const { core, said } = busy(node);
    const isolates = json('isolates', core);
    assert.deepEqual(isolates.map((one) => one.kind), ['main', 'worker']);
    assert.equal(isolates[0].thread, said.pid);
    assert.equal(json('findjsinstances', core, 'WorkerOnly', '--isolate', '1').count, 7);
    const layout = json('layout', core);
    assert.ok(layout.walked > 1e6 && layout.gaps + layout.missing === 0);
    assert.ok(layout.constants.length > 50 && layout.constants.every((one) => ['metadata', 'derived', 'table', 'searched', 'missing'].includes(one.from)), JSON.stringify(layout.constants));
  });
}

/** Something done while our note in a core does not say when it was taken. */
function withoutItsTime(core, what) {
  const file = openSync(core, 'r+');
  try {
    // The notes stand at the beginning of a core that was written the direct way.
    const bytes = Buffer.alloc(1 << 20);
    readSync(file, bytes, 0, bytes.length, 0);
    const at = bytes.indexOf('"time":');
    assert.ok(at > 0);
    writeSync(file, '"tame":', at);
    try {
      return what();
    } finally {
      writeSync(file, '"time":', at);
    }
  } finally {
    closeSync(file);
  }
}

test('an unpacked archive opens by itself, wherever it is', { skip: skipNewest }, () => {
  const { core } = busy(newest);
  const place = folder();
  const archive = join(place, 'packed.tar.zst');
  stillcore('archive', core, '-o', archive, '--format', 'tar.zst', '--level', '1');
  const into = join(place, "a folder, it's odd");
  mkdirSync(into);
  stillcore('unpack', archive, into);
  const at = readdirSync(into).includes('run-autopsy.sh') ? into : join(into, readdirSync(into)[0]);
  const script = join(at, 'run-autopsy.sh');
  const bare = mkdtempSync(join(place, 'bin-'));
  const opens = (env, cwd = '/') => spawnSync('sh', [script, '-e', 'nodeinfo', '-e', 'jsstack'], { encoding: 'utf8', cwd, env: environment(env) });
  const done = opens({ STILLCORE: binary });
  assert.equal(done.status, 0, done.stderr);
  assert.match(done.stdout, new RegExp(`${newest.version}[^]*leave .*busy\\.cjs`));
  const sh = execFileSync('sh', ['-c', 'command -v sh'], { encoding: 'utf8' }).trim();
  const absent = spawnSync(sh, [script], { encoding: 'utf8', env: { PATH: bare } });
  assert.equal(absent.status, 127);
  assert.match(absent.stderr, /npm install --global stillcore-cli/);
});
