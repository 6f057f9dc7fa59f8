'use strict';
// The mappings of a process, as /proc/self/smaps lists them.

const fs = require('node:fs');

/** All mappings: { start, end, permissions, inode, name, rss, dontfork }; addresses are hexadecimal without `0x`. */
function parseMappings(smaps) {
  const found = [];
  for (const line of smaps.split('\n')) {
    const head = /^([0-9a-f]+)-([0-9a-f]+) (\S{4}) [0-9a-f]+ \S+ (\d+) *(.*)$/.exec(line);
    if (head) {
      const [, start, end, permissions, inode, name] = head;
      found.push({ start, end, permissions, inode: Number(inode), name, rss: 0, dontfork: false });
    } else if (line.startsWith('Rss:')) {
      found.at(-1).rss = parseInt(line.slice(4), 10) * 1024;
    } else if (line.startsWith('VmFlags:')) {
      found.at(-1).dontfork = / dc( |$)/.test(line);
    }
  }
  return found;
}

function readMappings() {
  return parseMappings(fs.readFileSync('/proc/self/smaps', 'latin1'));
}

/** The ranges that a fork leaves out, [start, end] each, those that touch joined; `populated`: only such as hold memory. */
function dontforkRanges(mappings, { populated = false } = {}) {
  const ranges = [];
  for (const { start, end, rss, dontfork } of mappings) {
    if (!dontfork || (populated && rss === 0)) continue;
    if (ranges.length > 0 && ranges.at(-1)[1] === start) ranges.at(-1)[1] = end;
    else ranges.push([start, end]);
  }
  return ranges;
}

module.exports = { parseMappings, readMappings, dontforkRanges };
