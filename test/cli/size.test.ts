// Sizes as people read them.
import { expect, test } from 'vitest'
import { showBytes } from '../../src/cli/size.ts'

test.each([
  [0, '0 B'],
  [999, '999 B'],
  [1_000, '1.0 KiB'],
  [10_188, '9.9 KiB'],
  [10_189, '10 KiB'],
  [1_023_487, '999 KiB'],
  [1_023_488, '1.0 MiB'],
  [5 * 1_024 ** 4, '5.0 TiB'],
  [5_000 * 1_024 ** 4, '5000 TiB'],
])('%i bytes are %s', (bytes, text) => {
  expect(showBytes(bytes)).toBe(text)
})
