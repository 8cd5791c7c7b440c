// Promises that may be left alone.

/**
 * A promise whose rejection ends no process when nobody waits for it: an outage must not take down a program that does
 * not care how its call ends. Whoever awaits it gets the error as ever.
 */
export function quiet<T>(promise: Promise<T>): Promise<T> {
  promise.catch(() => {})
  return promise
}
