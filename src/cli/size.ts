// Sizes as people read them.
const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB'] as const

/** `512 B`, `1.4 MiB`, `23 GiB`. */
export function showBytes(bytes: number): string {
  let [size, unit] = [bytes, 0]
  while (size >= 999.5 && unit < UNITS.length - 1) {
    size /= 1_024
    unit++
  }
  const isRounded = unit === 0 || size >= 9.95
  return `${isRounded ? Math.round(size) : size.toFixed(1)} ${UNITS[unit]}`
}
