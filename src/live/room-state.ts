// What a room knows at a tick where no query runs yet: the registry, and a dataflow over its relations.
import { Dataflow } from './kernel/dataflow.ts'
import { registryAt } from './registry-at.ts'
import { Registry } from './registry.ts'
import { MAX_ROWS, type RoomOptions, type RoomState } from './room-options.ts'

type Bounds = Pick<RoomOptions, 'maxRows'>

export function roomOf(registry: Registry, tick: number, { maxRows = MAX_ROWS }: Bounds): RoomState {
  const { relations, nowMs } = registry
  return { tick, registry, flow: new Dataflow({ relations, maxRows, nowMs }), watched: new Map() }
}

export function emptyRoom(options: Bounds & Pick<RoomOptions, 'builtIn'>): RoomState {
  return roomOf(new Registry(options.builtIn), 0, options)
}

/** As the database tells it. */
export async function roomAt(
  namespace: string,
  tick: number,
  { sql, builtIn, ...options }: Bounds & Pick<RoomOptions, 'sql' | 'builtIn'>,
): Promise<RoomState> {
  const { registry } = await registryAt(sql, namespace, { tick, builtIn })
  return roomOf(registry, tick, options)
}
