// A heap as a service with much data has it: documents as they come from a database, with 24-hex ids,
// strings of some length, doubles, small integers and nested objects. Needs --expose-gc, and
// --max-old-space-size for more than about 2 GB.

const WORDS = 'delivery late again customer asked for refund item broken box was open thank you for the quick help'.split(' ')
const CITIES = ['Lisbon', 'Oslo', 'Porto', 'Ghent', 'Turin', 'Graz', 'Cork', 'Lyon']

const MB = 1024 * 1024

// Gives the documents: the heap is as large as said for as long as they are held.
export function buildHeap(megabytes) {
  const random = generator(megabytes)
  const documents = []
  while (heapUsed() < megabytes * MB) {
    const missing = megabytes * MB - heapUsed()
    for (let n = Math.max(100, Math.floor(missing / 2048)); n > 0; n--) documents.push(makeDocument(random, documents.length))
    if (process.memoryUsage().heapUsed > megabytes * MB) globalThis.gc()
  }
  globalThis.gc()
  return documents
}

const heapUsed = () => process.memoryUsage().heapUsed

function makeDocument(random, n) {
  const pick = (list) => list[random() % list.length]
  return {
    _id: [hex(n), hex(random()), hex(random())].join(''),
    version: random() % 20,
    name: ['customer', n, pick(WORDS)].join(' '),
    mail: [pick(WORDS), n, '@mail.example'].join(''),
    address: { street: [pick(WORDS), 'street', random() % 200].join(' '), city: pick(CITIES), location: [random() / 1e7, random() / 1e7] },
    tags: [pick(WORDS), pick(WORDS), pick(WORDS)],
    scores: Array.from({ length: 8 }, () => random() / 1e5),
    history: Array.from({ length: 6 }, (_, i) => ({ at: 1_700_000_000_000 + i * 1000, by: [hex(random()), hex(n), hex(i)].join(''), amount: random() / 100, open: i > 3 })),
    text: Array.from({ length: 30 }, () => pick(WORDS)).join(' '),
  }
}

const hex = (number) => (number >>> 0).toString(16).padStart(8, '0')

// xorshift: the same heap every time.
function generator(seed) {
  let state = seed + 0x9e3779b9
  return () => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return state >>> 0
  }
}
