// 500 calls a second, for as long as it is told, by a service and a client of one process.
import { Callplane } from 'callplane'

const plane = new Callplane()
const service = plane.service('busy', { functions: { add: (n: number) => n + 1 }, slots: 200 })
await service.start()
const { add } = plane.client<typeof service>('busy')
const untilMs = performance.now() + Number(process.env['FOR_MS'])
console.log('ready')
for (let due = performance.now(); performance.now() < untilMs; due += 20) {
  for (let n = 0; n < 10; n++) void add(n).catch(() => {})
  await new Promise((resolve) => setTimeout(resolve, Math.max(0, due + 20 - performance.now())))
}
await plane.close()
