'use strict';
// A service for the tests of bad conditions: runs the functions that the test sends it, one JSON request per line of
// stdin, and answers with a JSON line on stdout. support/subject.mjs is the other end.
const { createInterface } = require('node:readline');
const stillcore = require(process.env.STILLCORE_UNDER_TEST || '../../index.js');

// Made at run time, so that they are nowhere but in the heap: in a string of V8's, and in memory of malloc's.
const seed = `${process.pid}.${process.hrtime.bigint()}`;
const marker = { string: ['heap', seed].join('-marker-'), buffer: Buffer.alloc(1 << 20, ['buffer', seed].join('-marker-')) };
const kept = {}; // what one request leaves for the next

function describe(error) {
  if (!(error instanceof Error)) return { thrown: String(error) };
  const { name, message, errno, code, syscall, path, cause, stack } = error;
  return { name, message, errno, code, syscall, path, stack, cause: cause && String(cause), keys: Object.keys(error) };
}

/** A capture in one of its forms: { path } or { error }, with `calls` of the callback and how long all of it took. */
function capture(what = 'createCore', options = undefined, form = 'promise') {
  const start = performance.now();
  const answer = { calls: 0 };
  const end = (more) => Object.assign(answer, more, { ms: performance.now() - start });
  if (form === 'promise') {
    return stillcore[what](options).then((path) => end({ path, calls: 1 }), (error) => end({ error: describe(error), calls: 1 }));
  }
  return new Promise((resolve) => {
    stillcore[what](options, (error, path) => {
      answer.calls += 1;
      end(error ? { error: describe(error) } : { path });
      // A second call would come soon after.
      setTimeout(resolve, 20, answer);
    });
  });
}

const tools = { ...stillcore, stillcore, capture, describe, require, marker, kept };

createInterface({ input: process.stdin }).on('line', async (line) => {
  const { id, source, args } = JSON.parse(line);
  let answer;
  try {
    answer = { id, value: await (0, eval)(`(${source})`)(tools, ...args) };
  } catch (error) {
    answer = { id, error: describe(error) };
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
});
// Ready once every thread that Node has is there, and none maps memory any more.
require('node:fs').stat('.', () => setTimeout(() => {
  const start = marker.buffer.toString('latin1', 0, 14 + 2 * seed.length).match(/buffer-marker-[\d.]+\d/)[0];
  process.stdout.write(`ready ${process.pid} ${marker.string} ${start}\n`);
}, 30));
