// Cuts a file of SQL into its statements: neither Neon's HTTP nor a prepared statement takes more than one at a time.

// What can hold a semicolon that ends nothing, most specific first. An identifier is matched whole, since the dollar in
// it opens no quote; a block comment may nest and is therefore followed by hand.
const TOKEN = new RegExp(
  [
    String.raw`--[^\n]*`,
    String.raw`/\*`,
    String.raw`[eE]'[^'\\]*(?:(?:\\.|'')[^'\\]*)*'`,
    `'[^']*'`, // A doubled quote is the start of the next one.
    `"[^"]*"`,
    String.raw`\$(?<tag>(?:[A-Za-z_\u0080-\uffff][\w\u0080-\uffff]*)?)\$[^]*?\$\k<tag>\$`,
    String.raw`[A-Za-z_\u0080-\uffff][\w$\u0080-\uffff]*`,
    ';',
  ].join('|'),
  'gs',
)

/** The statements of a text, in order, without the comments before them and the semicolons after. Bodies in `begin atomic … end` are not understood. */
export function splitStatements(text: string): string[] {
  const statements: string[] = []
  let start = 0
  const cut = (end: number): void => {
    const statement = text.slice(skipBlank(text, start), end).trim()
    if (statement) statements.push(statement)
  }
  TOKEN.lastIndex = 0
  for (let token = TOKEN.exec(text); token; token = TOKEN.exec(text)) {
    if (token[0] === '/*') TOKEN.lastIndex = endOfComment(text, token.index)
    if (token[0] !== ';') continue
    cut(token.index)
    start = TOKEN.lastIndex
  }
  cut(text.length)
  return statements
}

/** Where the comments and the space at `start` end. */
function skipBlank(text: string, start: number): number {
  const blank = /(?:\s+|--[^\n]*)*/y
  blank.lastIndex = start
  const end = start + (blank.exec(text)?.[0].length ?? 0)
  return text.startsWith('/*', end) ? skipBlank(text, endOfComment(text, end)) : end
}

function endOfComment(text: string, start: number): number {
  const bracket = /\/\*|\*\//g
  bracket.lastIndex = start
  let depth = 0
  for (let found = bracket.exec(text); found; found = bracket.exec(text)) {
    depth += found[0] === '/*' ? 1 : -1
    if (depth === 0) return bracket.lastIndex
  }
  return text.length
}
