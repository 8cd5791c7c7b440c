// The example of the README: which functions fail, while they do.

// #region watch
import { Callplane, from } from 'callplane'

const plane = new Callplane()
const failures = from('jobs').where({ state: 'failed' }).groupBy('service', 'function').count()
const failing = await plane.live.register('failing', failures)
for await (const { tick, rows, diffs } of plane.live.watch(failing)) {
  console.log(`at ${tick}, ${diffs.length} changes`)
  for (const { service, function: name, count } of rows) console.log(`${service}.${name}: ${count} failed`)
}
// #endregion
