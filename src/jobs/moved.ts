// What the sweep tells of each job that it moved, or that time alone made due, so that the bell can ring for it.

/** For the bell: moved to pending, due in `due_in_ms`; moved to failed, so ended; or `due`, pending as it was before. */
export type Moved = {
  namespace: string
  id: string
  service: string
  state: 'pending' | 'failed' | 'due'
  due_in_ms: number
}
