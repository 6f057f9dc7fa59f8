'use strict'
// Strings that the examples put on the JavaScript heap and that anyone can name without asking the
// process: the demo, the tests and the benches compute them and look for them in the core.
//
//   marker('session', 17) -> 'shop_session_<32 hex digits>'
//
// `STILLCORE_MARKER_SEED` makes them differ from run to run. A process that was not started with the
// same seed does not hold them, so what is found in a core came from that process.

const { createHash } = require('node:crypto')

const PREFIX = 'shop_'
const SEED = process.env.STILLCORE_MARKER_SEED || 'stillcore'

function marker(kind, n, seed = SEED) {
  const digest = createHash('sha256').update(`${seed}:${kind}:${n}`).digest('hex').slice(0, 32)
  // join() writes one flat string. A template or `+` would leave a rope of two strings behind, and
  // the whole marker would stand nowhere in memory.
  return [PREFIX, kind, '_', digest].join('')
}

module.exports = { PREFIX, marker }
