// What the sweep tells of each job that it moved, so that the bell can ring for it.

/** A job that the sweep moved, for the bell: a pending one is due in `due_in_ms`, a failed one has ended. */
export type Moved = {
  namespace: string
  id: string
  service: string
  state: 'pending' | 'failed'
  due_in_ms: number
}
