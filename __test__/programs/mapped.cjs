'use strict';
// Maps files that a collection meets in the wild: addons behind symbolic links, with odd names, deleted or replaced
// after they were loaded; data files; and what looks like a file and is none.
//
//   mapAll(folder, mapper)     files go into the folder; mapper is the path of the addon of native/mapper.rs
//
// Gives { name: path } of the files that lie or lay there, and whether this process may read deleted ones.

const fs = require('node:fs');
const { join } = require('node:path');

function load(path) {
  const module = { exports: {} };
  process.dlopen(module, path);
  return module.exports;
}

function mapAll(folder, mapper) {
  const at = (...parts) => join(folder, ...parts);
  const copy = (...parts) => (fs.copyFileSync(mapper, at(...parts)), at(...parts));

  fs.mkdirSync(at('version 1'));
  const linked = copy('version 1', 'my addon.node');
  fs.symlinkSync('version 1', at('current'));
  fs.symlinkSync(join('current', 'my addon.node'), at('addon.node'));
  const { map } = load(at('addon.node'));

  const odd = copy('a\\b\nc ü.node');
  load(odd);
  const literal = copy('d.node (deleted)');
  load(literal);
  const deleted = copy('deleted.node');
  load(deleted);
  fs.unlinkSync(deleted);

  // An update in place: the old file is still mapped, the new one has its name and is mapped too.
  const replaced = copy('replaced.node');
  load(replaced);
  fs.unlinkSync(replaced);
  copy('replaced.node');
  fs.appendFileSync(replaced, 'the new one');
  fs.symlinkSync('replaced.node', at('again.node')); // a name that is loaded is not loaded again
  load(at('again.node'));

  const data = at('data.db');
  fs.writeFileSync(data, 'a database of others '.repeat(1000));
  map(`file:${data}`);
  map(`shared:${data}`);
  const short = at('short.db');
  fs.writeFileSync(short, '\x7fE');
  map(`file:${short}`);
  map('memfd:in memory');
  map('zero:');
  map('sysv:');
  return { linked, odd, literal, deleted, replaced, data, short, readsDeleted: readsDeleted() };
}

/** The kernel asks for privilege before it lets anyone open what is mapped. */
function readsDeleted() {
  try {
    fs.closeSync(fs.openSync(join('/proc/self/map_files', fs.readdirSync('/proc/self/map_files')[0])));
    return true;
  } catch {
    return false;
  }
}

module.exports = { load, mapAll, readsDeleted };
