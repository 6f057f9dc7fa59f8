// Reads a .tar.gz as it streams by, with Node alone: for the demo, the benches and the tests.
//
//   for await (const entry of entries(createReadStream(file))) {
//     console.log(entry.name, entry.size)
//     for await (const piece of entry.body) ...        // optional: what is not read is passed over
//   }

import { createGunzip } from 'node:zlib'

const BLOCK = 512

export async function* entries(stream) {
  const source = new Source(gunzip(stream))
  let long = {}
  for (let header; (header = await source.read(BLOCK)) !== null && header[0] !== 0;) {
    const entry = parseHeader(header)
    if (entry.type === 'x' || entry.type === 'L') {
      const text = (await source.read(entry.padded)).toString('utf8', 0, entry.size)
      Object.assign(long, entry.type === 'x' ? parsePax(text) : { path: text.replace(/\0.*$/s, '') })
      continue
    }
    if (long.path !== undefined) entry.name = long.path
    if (long.size !== undefined) entry.size = Number(long.size)
    long = {}
    const end = source.position + padded(entry.size)
    entry.body = source.take(entry.size)
    yield entry
    await source.skip(end - source.position)
  }
}

function gunzip(stream) {
  const unzip = createGunzip({ chunkSize: 1024 * 1024 })
  stream.once('error', (error) => unzip.destroy(error))
  return stream.pipe(unzip)
}

const padded = (size) => Math.ceil(size / BLOCK) * BLOCK

function parseHeader(block) {
  const text = (at, length) => block.toString('utf8', at, at + length).replace(/\0.*$/s, '')
  const prefix = text(257, 5) === 'ustar' && block[263] !== 0x20 ? text(345, 155) : ''
  const size = parseSize(block.subarray(124, 136))
  return { name: prefix ? `${prefix}/${text(0, 100)}` : text(0, 100), size, padded: padded(size), type: text(156, 1) || '0', mode: parseInt(text(100, 8), 8) }
}

// Octal digits, or, from 8 GiB on, a big-endian number whose first bit is set.
function parseSize(field) {
  if (!(field[0] & 0x80)) return parseInt(field.toString('latin1').trim(), 8)
  return Number(BigInt(`0x${field.toString('hex')}`) & ((1n << 95n) - 1n))
}

// Records of the form "<length> <key>=<value>\n".
function parsePax(text) {
  const found = {}
  for (let at = 0; at < text.length;) {
    const length = parseInt(text.slice(at), 10)
    if (!(length > 0)) break
    const [, key, value] = /^\d+ ([^=]+)=(.*)\n$/s.exec(text.slice(at, at + length)) ?? []
    if (key) found[key] = value
    at += length
  }
  return found
}

// Pieces of any length in, exactly as many bytes out as were asked for.
class Source {
  position = 0
  #pieces
  #rest = Buffer.alloc(0)

  constructor(pieces) {
    this.#pieces = pieces[Symbol.asyncIterator]()
  }

  // Yields the next `size` bytes in pieces as they come.
  async *take(size) {
    while (size > 0) {
      if (this.#rest.length === 0) {
        const { value, done } = await this.#pieces.next()
        if (done) throw new Error(`the archive ends ${size} bytes too early`)
        this.#rest = value
      }
      const piece = this.#rest.subarray(0, size)
      this.#rest = this.#rest.subarray(piece.length)
      this.position += piece.length
      size -= piece.length
      yield piece
    }
  }

  async read(size) {
    const pieces = []
    for await (const piece of this.take(size)) pieces.push(piece)
    return Buffer.concat(pieces)
  }

  async skip(size) {
    for await (const _ of this.take(size));
  }
}
