// The part of the Standard Schema interface, version 1 (standardschema.dev), that checking arguments needs: zod, valibot,
// arktype and others fit it. Declared here, so that the SDK depends on none of them.

export interface StandardSchema<Input = unknown, Output = Input> {
  readonly '~standard': {
    readonly version: 1
    readonly vendor: string
    readonly validate: (value: unknown) => SchemaResult<Output> | Promise<SchemaResult<Output>>
    /** For the compiler alone. */
    readonly types?: { readonly input: Input; readonly output: Output } | undefined
  }
}

export type SchemaResult<Output> =
  | { readonly value: Output; readonly issues?: undefined }
  | { readonly issues: readonly SchemaIssue[] }

export interface SchemaIssue {
  readonly message: string
  readonly path?: readonly (PropertyKey | { readonly key: PropertyKey })[] | undefined
}

/** One schema for each argument. */
export type Schemas = readonly StandardSchema[]

type TypesOf<S extends StandardSchema> = NonNullable<S['~standard']['types']>

/** What a caller passes: the inputs of the schemas. Those at the end that may be undefined may be left out. */
export type InputsOf<S extends Schemas> = OptionalTail<{ -readonly [I in keyof S]: TypesOf<S[I]>['input'] }>

/** What the function gets: the outputs of the schemas. */
export type OutputsOf<S extends Schemas> = { -readonly [I in keyof S]: TypesOf<S[I]>['output'] }

type OptionalTail<T extends readonly unknown[]> = T extends [...infer Head, infer Last]
  ? undefined extends Last
    ? [...OptionalTail<Head>, Last?]
    : T
  : T
