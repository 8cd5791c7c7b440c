// Holds README.md and the pages of docs/ to what they speak of: snippets, scripts, files, anchors.
import { existsSync, globSync, readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import packageJson from '../../package.json' with { type: 'json' }
import { createMetrics } from '../../src/http/metrics.ts'

const ROOT = new URL('../../', import.meta.url)
const read = (path: string) => readFileSync(new URL(path, ROOT), 'utf8')

const pages = [...globSync('*.md', { cwd: ROOT }), ...globSync('docs/*.md', { cwd: ROOT })].map((path) => ({ path }))

describe.each(pages)('$path', ({ path }) => {
  const page = read(path)

  test('has the snippets of the files that it names', () => {
    const marked = page.matchAll(/<!-- from ([\w./-]+)(?:#([\w-]+))? -->\n+```\w*\n([^]*?)```/g)
    for (const [, file = '', region, snippet] of marked) expect(snippet).toBe(excerptOf(file, region))
  })

  test('shows no TypeScript that is not a file’s', () => {
    const marks = page.match(/<!-- from .* -->\n+```ts\n/g) ?? []
    expect(page.match(/^```(ts|typescript)$/gm) ?? []).toHaveLength(marks.length)
  })

  test('names only scripts that package.json has', () => {
    const named = Array.from(page.matchAll(/npm (?:run )?(start|test|(?<=run )[\w:]+)/g), ([, script]) => script)
    for (const script of named) expect(Object.keys(packageJson.scripts)).toContain(script)
  })

  test('has links that lead to files and headings of this repository', () => {
    const folder = new URL(path, ROOT)
    for (const [, target = '', anchor] of page.matchAll(/\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)/g)) {
      const file = new URL(target === '' ? folder : target, folder)
      expect(existsSync(file), `${target} of ${path}`).toBe(true)
      if (anchor !== undefined) expect(anchorsOf(readFileSync(file, 'utf8')), `#${anchor} of ${path}`).toContain(anchor)
    }
  })
})

test('the README shows a service and a client in ten lines', () => {
  expect(excerptOf('test/examples/hello.ts', 'hello').trim().split('\n').length).toBeLessThanOrEqual(10)
  expect(read('README.md')).toContain('<!-- from test/examples/hello.ts#hello -->')
})

test('docs/deploy.md names every counter of /metrics', () => {
  const counters = Array.from(
    createMetrics()
      .text()
      .matchAll(/^# HELP (\w+)/gm),
    ([, name = '']) => name,
  )
  expect(counters.length).toBeGreaterThan(0)
  const page = read('docs/deploy.md')
  for (const counter of counters) expect(page).toContain(`\`${counter}\``)
})

/** A file, or what stands between `// #region NAME` and the next `// #endregion` in it. */
function excerptOf(file: string, region: string | undefined): string {
  const text = read(file)
  if (region === undefined) return text
  const [, after] = text.split(`// #region ${region}\n`)
  const [excerpt, ...rest] = after?.split('// #endregion\n') ?? []
  if (excerpt === undefined || rest.length === 0) throw new Error(`${file} has no region "${region}"`)
  return excerpt
}

/** As GitHub makes them of the headings. */
function anchorsOf(page: string): string[] {
  return Array.from(page.matchAll(/^#+ (.+)$/gm), ([, title = '']) => {
    return title
      .toLowerCase()
      .replaceAll(' ', '-')
      .replace(/[^\w-]/g, '')
  })
}
