// The OpenAPI document, made from the same shapes that parse the requests.
import { ENDPOINTS, type AnyEndpoint } from '../protocol/endpoints.ts'
import { ERROR_CODES } from '../protocol/errors.ts'

const MEDIA_TYPES: Record<AnyEndpoint['form'], readonly string[]> = {
  msgpack: ['application/msgpack'],
  json: ['application/json'],
  either: ['application/json', 'application/msgpack'],
  frames: ['application/vnd.callplane.frames'],
  text: ['text/plain'],
}

const content = (form: AnyEndpoint['form'], schema: object) =>
  Object.fromEntries(MEDIA_TYPES[form].map((type) => [type, { schema }]))

function parametersOf({ path, query }: AnyEndpoint): object[] {
  const ofPath = [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => ({
    name,
    in: 'path',
    required: true,
    schema: { type: 'string' },
  }))
  const ofQuery = Object.entries(query?.schema.properties ?? {}).map(([name, { description, ...schema }]) => ({
    name,
    in: 'query',
    description,
    // A list is one parameter, with commas.
    ...(schema.type === 'array' ? { style: 'form', explode: false } : {}),
    schema,
  }))
  return [...ofPath, ...ofQuery]
}

function operation(operationId: string, endpoint: AnyEndpoint): object {
  const { summary, scope, request, requestForm = 'msgpack', answer, form, status = 200, unfinished } = endpoint
  const parameters = parametersOf(endpoint)
  return {
    operationId,
    summary,
    ...(scope === null ? { security: [] } : { 'x-callplane-scope': scope }),
    ...(parameters.length === 0 ? {} : { parameters }),
    ...(request === null ? {} : { requestBody: { required: true, content: content(requestForm, request.schema) } }),
    responses: {
      [status]: { description: 'Answered.', content: content(form, answer.schema) },
      ...(unfinished && { 202: { description: 'Not ended yet.', content: content('json', unfinished.schema) } }),
      default: { description: 'An error.', content: content('either', { $ref: '#/components/schemas/Error' }) },
    },
  }
}

/** The document that `/openapi.json` serves. */
export function openApiDocument(): object {
  const paths: Record<string, Record<string, object>> = {}
  for (const [id, endpoint] of Object.entries(ENDPOINTS)) {
    paths[endpoint.path] = { ...paths[endpoint.path], [endpoint.method.toLowerCase()]: operation(id, endpoint) }
  }
  return {
    openapi: '3.1.0',
    info: {
      title: 'Callplane',
      version: '1',
      description: 'Calls functions across services. Bodies are msgpack; strings of format "binary" are its bin type.',
      license: { name: 'MIT', identifier: 'MIT' },
    },
    security: [{ key: [] }],
    paths,
    components: {
      securitySchemes: { key: { type: 'http', scheme: 'bearer', description: 'A key: cp_…' } },
      schemas: {
        Error: {
          type: 'object',
          properties: {
            error: {
              type: 'object',
              properties: {
                code: { type: 'string', enum: Object.keys(ERROR_CODES) },
                message: { type: 'string' },
                name: { type: 'string' },
                isRetryable: { type: 'boolean' },
              },
              required: ['code', 'message'],
            },
          },
          required: ['error'],
        },
      },
    },
  }
}
