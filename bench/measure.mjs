// What every section needs to tell what it measured.

export function median(numbers) {
  const sorted = [...numbers].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
}

// { a: 1 }, { a: 3 } ... -> { a: 2 }
export function medians(objects) {
  return Object.fromEntries(Object.keys(objects[0]).map((key) => [key, median(objects.map((object) => object[key]))]))
}

export function ms(number) {
  if (number >= 10_000) return `${(number / 1000).toFixed(1)} s`
  return `${number.toFixed(number < 10 ? 2 : number < 100 ? 1 : 0)} ms`
}

export const mb = (bytes) => `${(bytes / 1024 / 1024).toFixed(1)} MB`
export const times = (ratio) => `${ratio.toFixed(ratio < 10 ? 2 : 0)} x`

// Rows of { what, measured, beside, ratio, goal, met }; `skipped` in place of figures says why.
export function table(rows) {
  const head = ['', 'measured', 'beside', 'ratio', 'goal', '']
  const verdict = { true: 'met', false: 'MISSED' }
  const lines = rows.map((row) => (row.skipped
    ? [row.what, `skipped: ${row.skipped}`]
    : [row.what, row.measured, row.beside ?? '', row.ratio ?? '', row.goal ?? '', verdict[row.met] ?? '']))
  const width = head.map((title, n) => Math.max(title.length, ...lines.filter((line) => line.length > 2).map((line) => line[n].length)))
  width[0] = Math.max(...lines.map((line) => line[0].length))
  const line = (cells) => cells.map((cell, n) => cell.padEnd(width[n])).join('  ').trimEnd()
  return [line(head), line(width.map((n) => '-'.repeat(n))), ...lines.map(line)].join('\n')
}
