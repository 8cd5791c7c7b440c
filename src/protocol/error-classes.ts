// Which errors keep their class on the wire, which of their properties travel, and how they are put together again.
import { CallplaneError, isErrorCode, NonRetryableError } from './errors.ts'

/** An error arrives as the first of these that it is an instance of, else as an Error. Its name and properties stay. */
const CLASSES: ReadonlyMap<unknown, new (...args: never[]) => Error> = new Map(
  Object.entries({
    CallplaneError,
    NonRetryableError,
    AggregateError,
    EvalError,
    RangeError,
    ReferenceError,
    SyntaxError,
    TypeError,
    URIError,
  }),
)

/** What an error has without it being enumerable: its own, or its prototype's (as the `code` of a DOMException is). */
const HIDDEN_PROPERTIES = ['name', 'message', 'stack', 'cause', 'code', 'errors']

/** Also true for an error of another realm, which is no instance of this one's Error. */
export function isError(value: object): boolean {
  return value instanceof Error || Object.prototype.toString.call(value) === '[object Error]'
}

export function classNameOfError(error: object): string {
  for (const [name, errorClass] of CLASSES) if (error instanceof errorClass) return String(name)
  return 'Error'
}

/** The names alone: to read the properties may throw, which is the caller's business. */
export function hiddenPropertiesOf(error: object): string[] {
  return HIDDEN_PROPERTIES.filter((name) => name in error && !isEnumerable(error, name))
}

export function isEnumerable(object: object, key: string | symbol): boolean {
  return Object.prototype.propertyIsEnumerable.call(object, key)
}

/** The error that was sent. The first `hiddenCount` of its properties are not enumerable. */
export function buildError(className: unknown, hiddenCount: number, properties: Map<string, unknown>): Error {
  const errorClass = CLASSES.get(className) ?? Error
  // A true error (Error.isError, structuredClone) of that class, without running a constructor that wants arguments.
  const error: Error = Reflect.construct(Error, [], errorClass)
  if (errorClass === CallplaneError) replaceUnknownCode(properties)
  // Without one of its own, it would have the stack of this line.
  hide(error, 'stack', `${String(properties.get('name'))}: ${String(properties.get('message'))}`)

  let index = 0
  for (const [name, value] of properties) {
    if (index++ >= hiddenCount)
      Object.defineProperty(error, name, { value, writable: true, enumerable: true, configurable: true })
    else if (name !== 'name' || error.name !== value) hide(error, name, value)
  }
  return error
}

function hide(error: Error, name: string, value: unknown): void {
  Object.defineProperty(error, name, { value, writable: true, enumerable: false, configurable: true })
}

/** As `fromWireError` does it: the code of a newer plane becomes `internal`, and stays in the message. */
function replaceUnknownCode(properties: Map<string, unknown>): void {
  const code = properties.get('code')
  if (isErrorCode(code)) return
  properties.set('message', `${String(code)}: ${String(properties.get('message'))}`)
  properties.set('code', 'internal')
}
