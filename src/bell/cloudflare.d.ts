// The one module of workerd that is imported here. The globals of workers-types would clash with TypeScript's DOM library.
declare module 'cloudflare:workers' {
  import type { CloudflareWorkersModule } from '@cloudflare/workers-types'
  export abstract class DurableObject<Env = unknown> extends CloudflareWorkersModule.DurableObject<Env> {}
  export function waitUntil(promise: Promise<unknown>): void
}
