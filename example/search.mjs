// Looks for marker strings (markers.js) in bytes that stream by.

import markers from './markers.js'

// `names` maps a kind to how many there are: { session: 1000 } looks for marker('session', 0 ... 999).
// Gives { session: { found, total } }; `seed` is that of the process the bytes came from.
export async function findMarkers(pieces, names, seed) {
  const missing = new Set()
  const totals = {}
  let longest = 0
  for (const [kind, total] of Object.entries(names)) {
    totals[kind] = { found: 0, total }
    for (let n = 0; n < total; n++) {
      const text = markers.marker(kind, n, seed)
      missing.add(text)
      longest = Math.max(longest, text.length)
    }
  }
  const shape = new RegExp(`^${markers.PREFIX}([a-z0-9]+)_[0-9a-f]{32}`)

  let carried = Buffer.alloc(0)
  for await (const piece of pieces) {
    // What begins near the end of a piece is looked at again together with the next.
    const bytes = carried.length ? Buffer.concat([carried, piece]) : piece
    for (let at = bytes.indexOf(markers.PREFIX); at !== -1; at = bytes.indexOf(markers.PREFIX, at + 1)) {
      const match = shape.exec(bytes.toString('latin1', at, at + longest))
      if (match && missing.delete(match[0])) totals[match[1]].found++
    }
    carried = Buffer.from(bytes.subarray(Math.max(0, bytes.length - longest + 1)))
  }
  return totals
}
