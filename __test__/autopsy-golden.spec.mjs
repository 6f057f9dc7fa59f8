// What each command of autopsy prints, kept as a user reads it: __test__/golden/NAME.txt are transcripts of a small shop
// (__test__/programs/golden.cjs), as text and as JSON, the same on every supported Node; where a line of Node differs it has a
// NAME.MAJOR.txt of its own. Addresses are numbered in the order in which they come, and what depends on the build or on the
// moment (line numbers of Node's own files, sizes, times, descriptors) is #.
//
//   GOLDEN=write node --test __test__/autopsy-golden.spec.mjs     writes them anew: look at what changed
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { binary, folder, json, noBinary, root, stillcore } from './support/autopsy.mjs';
import { nodes } from './support/nodes.mjs';

const program = join(root, '__test__', 'programs', 'golden.cjs');
const kept = join(root, '__test__', 'golden');
const writes = process.env.GOLDEN === 'write';

/** What is asked: commands by the name of their file. @name is an address of something of the shop. */
const TRANSCRIPTS = {
  values: {
    commands: ['jsprint @shop', 'jsprint @shop -d 1', 'jsprint @shop orders notes[3].a till', 'jsprint @order -a -d 1', 'jsprint @customer -H',
      'inspect @order', 'jsprop @order', 'jsarray @notes -i', 'jsarray @rates -i', 'jsconstructor @order -v', 'jsconstructor @shop -v',
      'nodebuffer @receipt', 'v8str @name -v'],
    json: ['jsprint @order', 'jsprop @order', 'jsarray @notes', 'jsconstructor @order', 'nodebuffer @receipt', 'v8str @name'],
  },
  objects: {
    commands: ['findjsobjects -c Order', 'findjsobjects -p orders', 'findjsobjects @order', 'findjsobjects -c Order -l', 'findjsobjects -c Order -b',
      'findjsinstances Order', 'findjsinstances Order -v', 'findjsinstances Order -n 1', 'findjsobjects -c Order | jsprint id'],
    json: ['findjsobjects -c Order', 'findjsinstances Order'],
  },
  references: {
    commands: ['jsfindrefs @customer', 'jsfindrefs @order', 'jsfindrefs @notes', 'jsfindrefs @first', 'jsfindrefs @shop', 'jsfindrefs -n customer', 'jsfindrefs -n till', 'jsfindrefs @customer -r'],
    json: ['jsfindrefs @customer'],
  },
  functions: {
    commands: ['jsfunctions -s golden.cjs -n ring', 'jsfunction @till', 'jssource @till -n 1', 'jsclosure @till', 'scripts -s golden.cjs'],
    json: ['jsfunctions -s golden.cjs -n ring', 'jsfunction @till', 'jssource @till -n 0', 'jsclosure @till', 'scripts -s golden.cjs'],
  },
  stack: {
    commands: ['jsstack -f leaveCore', 'jsstack -v -n 1 -f closing'],
    json: [],
  },
  node: {
    commands: ['isolates', 'handles', 'requests', 'timers', 'promises', 'jsmodules'],
    json: ['isolates', 'handles', 'requests', 'timers', 'promises'],
  },
  nodeinfo: { commands: ['nodeinfo'], json: [] },
  memory: {
    commands: ['whatis @order', 'whatis @till', 'strings --grep ^4111'],
    json: ['whatis @order', 'strings --grep ^4111'],
  },
  heap: { commands: ['heap'], json: [] },
  layout: { commands: ['layout'], json: [] },
};

/** One core of the shop for each Node, and where things are in it. */
const shops = new Map();
function shop(node) {
  if (!shops.has(node.label)) {
    const place = folder();
    execFileSync('mkfifo', [join(place, 'fifo')]);
    execFileSync(node.path, [program, place], { timeout: 60_000 });
    const core = join(place, readdirSync(place).find((name) => name.startsWith('core')), 'core');
    const one = (name) => json('findjsinstances', core, name).instances[0];
    const at = { shop: one('Shop'), order: one('Order'), customer: one('Customer'), divider: one('Divider') };
    const found = json('jsprint', core, at.shop, 'notes', 'rates', 'receipt', 'till', '-d', '0');
    for (const [name, value] of Object.entries(found)) at[name] = value.address;
    at.first = json('jsprint', core, at.order, 'lines[0]', 'lines[0]', '-d', '0')['lines[0]'].address;
    at.name = json('jsprint', core, at.customer, 'name', '-d', '0').name.address;
    const made = { core, at, place, node };
    // All in two runs, which find the heap's objects once.
    const every = (what) => [...new Set(Object.values(TRANSCRIPTS).flatMap((one) => one[what]))];
    const paired = (commands, answers) => new Map(commands.map((command, n) => [command, answers[n]]));
    made.printed = paired(every('commands'), texts(every('commands'), made));
    made.told = paired(every('json'), values(every('json'), made));
    shops.set(node.label, made);
  }
  return shops.get(node.label);
}

const addressed = (command, at) => command.replace(/@(\w+)/g, (whole, name) => at[name] ?? assert.fail(`${command}: nothing is called ${name}`));

/** A text without what differs from one core to the next. */
function masked(text, { place, node }) {
  const seen = new Map();
  const number = (address) => {
    if (!seen.has(address)) seen.set(address, `<${seen.size + 1}>`);
    return seen.get(address);
  };
  return text.replaceAll(place, '/tmp/folder').replaceAll(node.path, '/bin/node').replaceAll(root, '/app')
    // The first column of a table keeps its width.
    .replace(/^( +)(0x[0-9a-f]{5,})(?= {2,})/gm, (whole, blanks, address) => number(address).padStart(whole.length))
    .replace(/0x[0-9a-f]{5,}/g, number)
    .replace(/node:[\w/]+(:\d+)+/g, (name) => name.replace(/:\d+/g, ':#'))
    .replace(/\(\d+ internal frames?\)/g, '(# internal frames)')
    // As far in as the address above it is long.
    .replace(/^ {10,18}(?=(and )?awaited by)/gm, '               ')
    .replace(/^thread \d+ \([\w-]+\)/gm, 'thread # (name)')
    .replace(/\bfd \d+/g, 'fd #')
    .replace(/\b(in|due|ago) [\d.]+ (ms|s)\b/g, '$1 # s')
    .replace(/"(pid|thread|tid|fd|pages|bytes|id|walked|due|due_ms|dueMs|in|delay|start|expires|end|position)": -?[\d.]+/g, '"$1": "#"')
    .replace(/ +$/gm, '');
}

/** What is left of a command whose numbers mean nothing elsewhere. */
const MASKS = {
  // The row of a space is there where it has a page.
  heap: (text) => [...new Set(text.split('\n').map((line) => line.replace(/^isolate \d/, 'isolate #').replace(/(?<= )[\d,]+ of them/g, '# of them').replace(/ +\d[\d.]*/g, ' #')))]
    .filter((line) => !/large_object|shared|code_space|trusted/.test(line)).join('\n'),
  // The offsets are V8's; the words around them are ours.
  layout: (text) => text.split('\n').filter((line) => !/ (metadata|derived|table|searched|type|default|missing)\b/.test(line) || /^(map_constructor|string_length|instance_types)\b/.test(line))
    .map((line) => line.replace(/\d[\d.]*/g, '#').replace(/ {2,}/g, '  ')).join('\n'),
  nodeinfo: (text) => text.replace(/^(version|pid|release|versions|features|captured|started|uptime)( +).*$/gm, '$1$2#'),
  isolates: (text) => text.replace(/^( +\d )(.*?)(main|worker)$/gm, '$1  #  $3'),
  scripts: (text) => text.replace(/\d+ +\d+ +(?=\/app)/g, '# # '),
  // In the order of their addresses.
  jsmodules: (text) => text.replace(/<\d+>/g, '<#>').split('\n').sort().join('\n'),
  // How many strings of Node's own files there are.
  findjsobjects: (text) => text.replace(/("externalStrings": \{[^}]*"count": )\d+/, '$1"#"'),
  strings: (text) => text.split('\n').filter((line) => !line.includes('// A small shop')).join('\n'),
};
const mask = (command, text) => (MASKS[command.split(' ')[0]] ?? ((one) => one))(text);

/** What all commands print, in one run of autopsy. */
function texts(commands, { core, at }) {
  const divider = `jsprint ${at.divider} text`;
  const done = spawnSync(binary, ['autopsy', core, ...commands.flatMap((command) => ['-e', addressed(command, at), '-e', divider])], { encoding: 'utf8', timeout: 60_000 });
  const parts = done.stdout.split("'===='\n");
  assert.equal(parts.length, commands.length + 1, done.stderr);
  return parts.slice(0, -1);
}

/** The same as JSON, one value a line. */
function values(commands, { core, at }) {
  const lines = stillcore('autopsy', core, '--json', ...commands.flatMap((command) => ['-e', addressed(command, at)])).trimEnd().split('\n');
  assert.equal(lines.length, commands.length);
  return lines.map((line) => JSON.stringify(JSON.parse(line), null, 1));
}

function transcript({ commands, json: asked }, made) {
  const printed = commands.map((command) => `> ${command}\n${mask(command, masked(made.printed.get(command), made))}`);
  const told = asked.map((command) => `> ${command} --json\n${mask(command, masked(made.told.get(command), made))}\n`);
  return [...printed, ...told].join('\n');
}

/** What is kept, or was just written, under a name. */
function expected(name, node, now) {
  const common = join(kept, `${name}.txt`);
  const own = join(kept, `${name}.${node.major}.txt`);
  if (writes) {
    mkdirSync(kept, { recursive: true });
    const newest = !existsSync(common) || node === all.findLast((one) => !one.skip);
    if (newest) writeFileSync(common, now);
    rmSync(own, { force: true });
    if (!newest && readFileSync(common, 'utf8') !== now) writeFileSync(own, now);
  }
  return readFileSync(existsSync(own) ? own : common, 'utf8');
}

const all = await nodes();
// The newest first: what the others share is what it says.
for (const node of all.toReversed()) {
  for (const [name, asked] of Object.entries(TRANSCRIPTS)) {
    test(`${name}: what is printed is what was kept, on ${node.label}`, { skip: node.skip || noBinary }, () => {
      const now = transcript(asked, shop(node));
      assert.equal(now, expected(name, node, now));
    });
  }
}

test('help: the list, a manual, and one for every command', { skip: noBinary || (all.some((node) => !node.skip) ? false : 'there is no Node here') }, () => {
  const node = all.findLast((one) => !one.skip);
  const made = shop(node);
  const [list] = texts(['help'], made);
  const words = [...list.matchAll(/^ {2}([a-z]\w+)  /gm)].map((match) => match[1]).filter((word) => !['set', 'quit', 'help'].includes(word));
  assert.ok(words.length > 35, list);
  const manuals = texts(words.map((word) => `help ${word}`), made);
  manuals.forEach((text, n) => assert.match(text, /^[A-Z][^]+\nOptions:\n[^]+--isolate <N>/, `help ${words[n]}`));
  const now = `> help\n${list}\n> help jsprint\n${manuals[words.indexOf('jsprint')]}`.replace(/ +$/gm, '');
  assert.equal(now, expected('help', node, now));
});
