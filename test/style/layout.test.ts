// The layout and the small habits that no tool checks, and that each check of them finds what breaks it.
import { describe, expect, test } from 'vitest'
import {
  dependencyFaults,
  layoutFaults,
  lengthFault,
  openingFault,
  suppressionFaults,
  wordFaults,
} from './layout-rules.ts'
import { missingPackages, type Lockfile } from '../support/lockfile.ts'
import { readRepositoryFile, repositoryFiles, sourceTree } from './repository.ts'

const files = repositoryFiles()
const source = [...sourceTree()]
const texts = files.map((file) => [file, readRepositoryFile(file)] as const).filter(([, text]) => !text.includes('\0'))

describe('the repository', () => {
  test('holds what the layout names and nothing beside it', () => {
    expect(layoutFaults(files)).toEqual([])
  })

  test('opens each source file with a sentence on what it is for', () => {
    expect(source.map(([file, text]) => openingFault(file, text)).filter(Boolean)).toEqual([])
  })

  test('has no source file over 300 lines', () => {
    expect(source.map(([file, text]) => lengthFault(file, text)).filter(Boolean)).toEqual([])
  })

  test('speaks of itself alone', () => {
    expect(texts.flatMap(([file, text]) => wordFaults(file, text))).toEqual([])
  })

  test('suppresses no lint without a reason', () => {
    const code = texts.filter(([file]) => file.endsWith('.ts') && !file.startsWith('test/style/'))
    expect(code.flatMap(([file, text]) => suppressionFaults(file, text))).toEqual([])
  })

  test('pins every package, and its lockfile names no registry', () => {
    const [manifest, lock] = ['package.json', 'package-lock.json'].map(readRepositoryFile)
    expect(dependencyFaults(manifest ?? '', lock ?? '')).toEqual([])
  })

  test('locks the packages of every platform, without which npm ci refuses the lockfile', () => {
    const lock = JSON.parse(readRepositoryFile('package-lock.json')) as Lockfile // npm's format
    expect([...missingPackages(lock).keys()]).toEqual([])
  })
})

describe('the check finds', () => {
  test('a file and a folder beside the layout', () => {
    expect(layoutFaults(['.npmrc', 'README.md', 'src/node.ts', 'notes.md', 'tools/a.ts', 'src/utils/b.ts'])).toEqual([
      'notes.md is not part of the layout',
      'tools is not part of the layout',
      'src/utils is not part of the layout',
    ])
  })

  test.each([
    ['that begins with code', `import './a.ts'\n// Says it late.\n`],
    ['whose comment is no sentence', '// claim\nexport {}\n'],
    ['whose comment is empty', '//\nexport {}\n'],
    ['with a shebang alone', '#!/usr/bin/env node\nexport {}\n'],
    ['that is empty', ''],
  ])('a file %s', (_, text) => {
    expect(openingFault('src/a.ts', text)).toBe('src/a.ts does not open with a sentence in a comment')
  })

  test.each([
    ['a sentence', '// Takes due jobs.\nexport {}\n'],
    ['a sentence over two lines', '// Takes jobs that are due,\n// oldest first.\nexport {}\n'],
    ['a shebang and a sentence', '#!/usr/bin/env node\n// The command line: picks the command\nexport {}\n'],
  ])('nothing wrong with %s', (_, text) => {
    expect(openingFault('src/a.ts', text)).toBeNull()
  })

  test('the 301st line', () => {
    expect(lengthFault('src/a.ts', '\n'.repeat(300))).toBeNull()
    expect(lengthFault('src/a.ts', '\n'.repeat(301))).toBe('src/a.ts has 301 lines: which second idea moved in?')
  })

  // In two halves, so that this file passes.
  test.each([
    ['sub', 'agent'],
    ['This ses', 'sion'],
    ['/wor', 'k/main'],
    ['.lib', 'rary/x'],
    ['registry.', 'npmjs.org'],
  ])('a word that is not the project’s: %s%s', (half, other) => {
    expect(wordFaults('docs/a.md', `one\ntwo ${half}${other} three`)).toHaveLength(1)
  })

  test('a suppression without its rule or its reason', () => {
    const lines = ['a() // oxlint-disable-line', 'b() // oxlint-disable-line no-console', '/* eslint-disable */']
    expect(suppressionFaults('src/a.ts', lines.join('\n'))).toHaveLength(3)
    expect(suppressionFaults('src/a.ts', 'c() // oxlint-disable-line no-console -- an entry')).toEqual([])
  })

  test('a package of another platform that the lockfile lacks', () => {
    const packages = {
      'node_modules/a': { optionalDependencies: { 'a-linux-x64': '1.0.0', 'a-darwin-arm64': '1.0.0' } },
    }
    const lock = { packages: { ...packages, 'node_modules/a-linux-x64': { version: '1.0.0' } } }
    expect([...missingPackages(lock).keys()]).toEqual(['node_modules/a-darwin-arm64'])
  })

  test('a loose version, and a lockfile that names a place or proves nothing', () => {
    const manifest = { dependencies: { hono: '^4.1.0', pg: '8.23.1' }, devDependencies: { vitest: '5.1.1-beta.2' } }
    const packages = {
      '': {},
      'node_modules/hono': { resolved: 'https://example.org/hono.tgz', integrity: 'sha512-a' },
      'node_modules/pg': {},
      'node_modules/pg-darwin': { optional: true },
      'node_modules/vitest': { integrity: 'sha512-b' },
    }
    expect(dependencyFaults(JSON.stringify(manifest), JSON.stringify({ packages }))).toEqual([
      'hono is not pinned: ^4.1.0',
      'node_modules/hono names where it came from',
      'node_modules/pg has no integrity',
    ])
  })
})
