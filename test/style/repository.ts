// What is in the repository, as git would have it: a new file counts before it is added, an ignored one never does.
import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('../..', import.meta.url))

/** Paths from the top of the repository, with `/`, in order. */
export function repositoryFiles(): string[] {
  const listed = execFileSync('git', ['ls-files', '-z', '--cached', '--others', '--exclude-standard'], { cwd: root })
  const files = new Set(listed.toString().split('\0').filter(Boolean))
  return [...files].filter((file) => existsSync(join(root, file))).toSorted()
}

export function readRepositoryFile(file: string): string {
  return readFileSync(join(root, file), 'utf8')
}

/** The TypeScript of src: path → text. */
export function sourceTree(): Map<string, string> {
  const files = repositoryFiles().filter((file) => file.startsWith('src/') && file.endsWith('.ts'))
  return new Map(files.map((file) => [file, readRepositoryFile(file)]))
}
