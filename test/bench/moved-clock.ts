// Loaded into a plane before it starts: with each SIGUSR2 its monotonic clock is a minute further, so that arms run out.
const MINUTE_MS = 60_000

let movedMs = 0
const now = performance.now.bind(performance)
performance.now = () => now() + movedMs
process.on('SIGUSR2', () => {
  movedMs += MINUTE_MS
})
