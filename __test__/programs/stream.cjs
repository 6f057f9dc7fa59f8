'use strict';
// Streams a capture of itself to stdout: for working folders that cannot be written.
//   node stream.cjs <options as JSON>
const { pipeline } = require('node:stream/promises');
const { streamCore } = require('../..');

pipeline(streamCore(JSON.parse(process.argv[2] ?? '{}')), process.stdout);
