'use strict';
// A process whose memory is at rest: Buffers, objects and strings that nobody touches any more. Takes two cores of
// itself, one right after the other, by the kernel and directly.
//
//   node --expose-gc still.cjs <directory> <megabytes>
//
// Prints one line of JSON: the paths, and how many pages of its Buffers are stamped.

const { capture } = require('../..');

const [directory, megabytes] = process.argv.slice(2);

// Half of it Buffers whose every KiB begins with a stamp of its own, half objects.
const seed = Math.random().toString(36).slice(2);
const buffers = Array.from({ length: megabytes / 2 }, (_, index) => {
  const buffer = Buffer.alloc(1 << 20, index & 255);
  for (let at = 0; at < buffer.length; at += 1024) buffer.write(`${seed}.${index}.${at}.`, at);
  return buffer;
});
const objects = [];
while (process.memoryUsage().heapUsed < (megabytes / 2) << 20) {
  for (let i = 0; i < 1000; i++) objects.push({ name: `object ${objects.length}`, value: Math.random(), list: [i, i * 2, i / 3] });
}
globalThis.kept = [buffers, objects];

async function main() {
  gc();
  gc();
  // Code that runs for the first time changes memory; the third capture is like the second.
  await capture({ directory, what: 'core', method: 'direct' });
  const kernel = await capture({ directory, what: 'core', method: 'kernel' });
  const direct = await capture({ directory, what: 'core', method: 'direct' });
  console.log(JSON.stringify({ kernel: kernel.path, direct: direct.path, seed, pages: buffers.length * 256 }));
}

main();
