// Run by tests as a process of its own: takes the lock of a folder, says whether it got it, and holds it until killed.
import { lockFolder } from '../../src/db/folder-lock.node.ts'

const [dir = '', url] = process.argv.slice(2)
try {
  lockFolder(dir, url)
  console.log('held')
  process.stdin.resume().once('end', () => process.exit())
} catch (error) {
  console.log(String(error))
}
