// What the sweep tells of each job that it moved, or that time alone made due, so that the bell can ring for it; and whose
// jobs it passes over, since their bells could not.

/** For the bell: moved to pending, due in `due_in_ms`; moved to failed, so ended; or `due`, pending as it was before. */
export type Moved = {
  namespace: string
  id: string
  service: string
  state: 'pending' | 'failed' | 'due'
  due_in_ms: number
}

export interface PassingOver {
  /**
   * Namespaces whose jobs stay as they are. Default: none. The statements compare `namespace || ''`, of which Postgres knows
   * nothing: where it has counted one namespace alone, it believes that a list leaves no row, and its plan reads them all.
   */
  except?: readonly string[]
}
