// Runs a script on the Node that the lock pins, whichever Node started it: `node src/cli/pinned.mjs SCRIPT ARGS…`.
// npm 11.19 puts the pinned one first on the PATH of its scripts; older npms, such as that of Node 20, do not.
import { spawn } from 'node:child_process'
import { createRequire } from 'node:module'
import { constants } from 'node:os'
import { delimiter, dirname, join, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'

/** The first Node that runs TypeScript as it is. */
const NEEDED = [22, 18]
const [major = 0, minor = 0] = process.versions.node.split('.').map(Number)
const isModern = major > NEEDED[0] || (major === NEEDED[0] && minor >= NEEDED[1])

if (isModern) {
  process.argv.splice(1, 1)
  process.argv[1] = resolve(process.argv[1] ?? '')
  await import(pathToFileURL(process.argv[1]).href)
} else {
  const node = pinnedNode()
  if (node === null) {
    console.error(
      `Callplane needs Node ${NEEDED.join('.')} or newer, and this is ${process.version}: run npm ci, or install a newer Node`,
    )
    process.exit(1)
  }
  const env = { ...process.env, PATH: `${dirname(node)}${delimiter}${process.env.PATH ?? ''}` }
  const child = spawn(node, process.argv.slice(2), { stdio: 'inherit', env })
  // At the terminal the child hears them too; its answer is the one that counts.
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal))
  child.once('exit', (code, signal) => process.exit(code ?? 128 + constants.signals[signal ?? 'SIGTERM']))
}

function pinnedNode() {
  const platform = process.platform === 'win32' ? 'win' : process.platform
  try {
    const file = createRequire(import.meta.url).resolve(`node-${platform}-${process.arch}/package.json`)
    return join(dirname(file), 'bin', process.platform === 'win32' ? 'node.exe' : 'node')
  } catch {
    return null
  }
}
