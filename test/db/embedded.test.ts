// The embedded database's folder: one process at a time, whatever happens to the one before.
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { cpSync, existsSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { hostname, tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { lockFolder } from '../../src/db/folder-lock.node.ts'
import { openEmbedded } from '../../src/db/pglite.node.ts'

const temporary = () => mkdtempSync(join(tmpdir(), 'callplane-embedded-'))

/** A database that is closed; to make one takes seconds. */
const template = temporary()
beforeAll(async () => {
  const { close } = await openEmbedded(join(template, 'db'))
  await close()
})
afterAll(() => rmSync(template, { recursive: true, force: true }))

function setup({ isNew = true } = {}): string {
  const parent = temporary()
  onTestFinished(() => rmSync(parent, { recursive: true, force: true }))
  const dir = join(parent, 'db')
  if (!isNew) cpSync(join(template, 'db'), dir, { recursive: true })
  return dir
}

/** Starts a script of test/support; resolves with the process and the line that it printed first. */
async function start(script: string, ...args: string[]): Promise<{ child: ChildProcess; said: string }> {
  const file = fileURLToPath(new URL(`../support/${script}`, import.meta.url))
  const child = spawn(process.execPath, [file, ...args], { stdio: ['pipe', 'pipe', 'inherit'] })
  onTestFinished(() => kill(child))
  const [said] = await once(createInterface(child.stdout), 'line')
  return { child, said }
}

async function kill(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  child.kill('SIGKILL')
  await once(child, 'exit')
}

describe('a folder', () => {
  test('that is open in another process is refused at once, naming the process and its URL', async () => {
    const dir = setup({ isNew: false })
    const before = Date.now()
    const { child, said } = await start('open-folder.ts', dir, 'http://127.0.0.1:8787')
    expect(said).toBe('open')
    const asked = performance.now()
    const error = await openEmbedded(dir).catch((error: unknown) => error)
    expect(performance.now() - asked).toBeLessThan(500)
    expect(error).toMatchObject({ name: 'FolderInUseError' })
    expect(String(error)).toContain(`open in process ${child.pid} since`)
    expect(String(error)).toContain('serving http://127.0.0.1:8787')
    const since = Date.parse(/since (\S+Z)/.exec(String(error))?.[1] ?? '')
    expect(since).toBeGreaterThanOrEqual(before)
    expect(since).toBeLessThanOrEqual(Date.now())
  })

  test('whose process was killed opens again, with all that was committed', async () => {
    const dir = setup({ isNew: false })
    const { child } = await start('open-folder.ts', dir)
    await kill(child)
    const { sql, close } = await openEmbedded(dir)
    expect(await sql('select n from rows')).toStrictEqual([{ n: 1 }])
    await close()
  })

  test('that was closed opens again, in this process and in another', async () => {
    const dir = setup({ isNew: false })
    const first = await openEmbedded(dir)
    await expect(openEmbedded(dir)).rejects.toMatchObject({ name: 'FolderInUseError' })
    // A POSIX lock goes when any handle of its file is closed in the process: the attempt above closed one.
    expect((await start('hold-folder.ts', dir)).said).toContain(`open in process ${process.pid}`)
    await Promise.all([first.close(), first.close()])
    await expect(first.sql('select 1')).rejects.toMatchObject({ code: '08003' })
    const second = await openEmbedded(dir)
    await second.close()
    expect((await start('open-folder.ts', dir)).said).toBe('open')
  })

  test('is one folder by whatever name', async () => {
    const dir = setup()
    const lock = lockFolder(dir)
    symlinkSync(dir, `${dir}-alias`)
    expect(() => lockFolder(`${dir}-alias`)).toThrow(`process ${process.pid}`)
    expect(() => lockFolder(join(dir, '..', 'db'))).toThrow(`process ${process.pid}`)
    lock.release()
    lockFolder(`${dir}-alias`).release()
  })

  test('with the first start cut short begins anew', async () => {
    const dir = setup()
    mkdirSync(dir)
    writeFileSync(join(dir, 'PG_VERSION'), '18\n')
    writeFileSync(`${dir}.unfinished`, '')
    const { sql, close } = await openEmbedded(dir)
    expect(await sql('select 1 as one')).toStrictEqual([{ one: 1 }])
    expect(existsSync(`${dir}.unfinished`)).toBe(false)
    await close()
  })

  test('of something else is left alone', async () => {
    const dir = setup()
    mkdirSync(dir)
    writeFileSync(join(dir, 'thesis.txt'), 'the only copy')
    await expect(openEmbedded(dir)).rejects.toThrow('something else')
    expect(existsSync(join(dir, 'thesis.txt'))).toBe(true)
    expect(() => lockFolder(dir).release()).not.toThrow()
  })
})

describe('the lock of a process that was killed', () => {
  // hold-folder.ts drops what lockFolder returns: a lock that the garbage collector can take loses here too.
  test('goes to exactly one of eight that race for it, and the others learn which', async () => {
    const dir = setup()
    for (let round = 0; round < 3; round++) {
      const { child } = await start('hold-folder.ts', dir)
      await kill(child)
      const racers = await Promise.all(Array.from({ length: 8 }, () => start('hold-folder.ts', dir)))
      const winners = racers.filter(({ said }) => said === 'held')
      expect(winners).toHaveLength(1)
      for (const { said } of racers) {
        if (said !== 'held') expect(said).toContain(`open in process ${winners[0]?.child.pid} since`)
      }
      await Promise.all(racers.map((racer) => kill(racer.child)))
    }
  })

  test('is free although its pid is in use again', async () => {
    const dir = setup()
    const { child } = await start('hold-folder.ts', dir)
    await kill(child)
    // What a pid that was given out again looks like: the holder that is written down lives.
    const holder = { pid: process.pid, host: 'here', since: new Date(0).toISOString() }
    writeFileSync(`${dir}.holder`, JSON.stringify(holder))
    expect(() => lockFolder(dir).release()).not.toThrow()
  })

  test('is held although its process has not said yet who it is', async () => {
    const dir = setup()
    const dead = await start('hold-folder.ts', `${dir}-of-another`)
    await kill(dead.child)
    await start('hold-folder.ts', dir)
    const before = { pid: dead.child.pid, host: hostname(), since: new Date(0).toISOString() }
    for (const leaveBehind of [
      () => rmSync(`${dir}.holder`),
      () => writeFileSync(`${dir}.holder`, JSON.stringify(before)),
      () => writeFileSync(`${dir}.holder`, '{"pid'),
    ]) {
      leaveBehind()
      const asked = performance.now()
      expect(() => lockFolder(dir)).toThrow('open in another process')
      expect(performance.now() - asked).toBeLessThan(1_000)
    }
  })
})
