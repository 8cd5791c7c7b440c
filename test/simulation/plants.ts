// Bugs that are planted to see them found: in the model's statements by name, in the real sources by replacing text as
// they are loaded.
import { registerHooks } from 'node:module'
import { MODEL_PLANTS, type ModelPlant } from './model/plants.ts'

export interface SourcePlant {
  what: string
  file: string
  /** Each text is found exactly once, and the other put in its place. */
  edits: readonly (readonly [from: string, to: string])[]
}

export const SOURCE_PLANTS: Record<string, SourcePlant> = {
  'ring-before-commit': {
    what: 'a create rings before its statement has committed',
    file: 'src/http/calls.ts',
    edits: [
      [
        'const enqueued = await plane.transitions.enqueue(',
        `await plane.bell.ring({ namespace, due: dueOf(calls.map(({ service, delayMs = 0 }) => ({ service, inMs: delayMs }))) })
  const enqueued = await plane.transitions.enqueue(`,
      ],
      ['await plane.bell.ring({ namespace, due: dueOf(created) })', '// rung for before'],
    ],
  },
  'look-before-joining': {
    what: 'a poll looks for jobs, then joins the bell: what comes between is not rung for',
    file: 'src/http/take-jobs.ts',
    edits: [
      [
        'const waiter = await plane.bell.join(interest)',
        `const { id: claimId, services } = claim
    const early = await claimJobs(plane.sql, runner, { claimId, services, maxBytes: MAX_CLAIM_BYTES })
    const waiter = await plane.bell.join(interest)`,
      ],
      [
        `await claimJobs(plane.sql, runner, {
            claimId: claim.id,
            services: claim.services,
            maxBytes: MAX_CLAIM_BYTES,
          })`,
        'early',
      ],
    ],
  },
  'claim-sets-no-alarm': {
    what: 'a claim does not set the alarm for the ends of its leases',
    file: 'src/http/take-jobs.ts',
    edits: [['await plane.bell.alarm(', 'void (']],
  },
  'alarm-rings-once': {
    what: 'the alarm does not set itself to when the sweep is wanted next',
    file: 'src/bell/alarm.ts',
    edits: [['if (nextMs !== null) atMs =', 'if (nextMs !== null && nextMs < 0) atMs =']],
  },
  'create-refuses-repeats': {
    what: 'a create that finds its call there already calls the id taken',
    file: 'src/jobs/enqueue.ts',
    edits: [
      ['if (row.is_known && row.is_same) return', 'if (row.is_known && row.is_same && row.is_in_time === null) return'],
    ],
  },
  'repeats-are-not-rung-for': {
    what: 'a create rings for new jobs alone: where its answer was lost, nobody does',
    file: 'src/http/calls.ts',
    edits: [["one === undefined || 'error' in one ?", "one === undefined || 'error' in one || !one.isNew ?"]],
  },
  'give-back-without-evidence': {
    what: 'the plane gives back jobs whose answer it sends all the same',
    file: 'src/http/take-jobs.ts',
    edits: [
      ['if (!isGone.aborted) return jobs', 'if (!isGone.aborted && Math.random() < 0.9) return jobs'],
      ['await giveBack(plane, namespace, jobs)\n  return []', 'await giveBack(plane, namespace, jobs)\n  return jobs'],
    ],
  },
  'callers-get-what-was-reported': {
    what: 'a caller is told what the runner reported, whatever became of the job',
    file: 'src/http/runners.ts',
    edits: [["return 'isFirst' in verdict && verdict.isFirst &&", "return 'isFirst' in verdict ||"]],
  },
  'swept-ends-are-not-rung-for': {
    what: 'the sweep does not tell the callers of the jobs that it ends',
    file: 'src/http/maintenance.ts',
    edits: [['ended: failed.map(({ id }) => ({ id, outcome: null })),', 'ended: [],']],
  },
  'bell-forgets-early-rings': {
    what: 'a ring that comes while its waiter looks is lost',
    file: 'src/bell/in-process.ts',
    edits: [['this.#kept = ended === null ?', 'if (this.#resolve !== null) this.#kept = ended === null ?']],
  },
  'sdk-makes-a-new-claim-id': {
    what: 'after a lost answer the SDK asks under a new claim id, and what the first claim holds waits for its lease',
    file: 'src/sdk/lanes.ts',
    edits: [['if (isNewest) this.#current = null', 'if (isNewest) this.#current = this.#claim = null']],
  },
  'sdk-drops-reports': {
    what: 'the SDK forgets reports that were not answered',
    file: 'src/sdk/lanes.ts',
    edits: [['else outbox.giveBack(batch.entries)', 'else for (const { served } of batch.entries) served.unsettled--']],
  },
  'sdk-runs-twice': {
    what: 'the SDK runs a job again when it is delivered again',
    file: 'src/sdk/runner.ts',
    edits: [['|| claim.tokens.has(job.token)', '']],
  },
  'sdk-makes-a-new-call-id': {
    what: 'the SDK sends a create again under another id',
    file: 'src/sdk/create.ts',
    edits: [
      [
        'return { ...call.request, argsDigest: call.digest }',
        'const id = call.request.id.slice(0, -1) + (call.sends % 10)\n  return { ...call.request, id, argsDigest: call.digest }',
      ],
    ],
  },
  'sdk-forgets-cut-streams': {
    what: 'the SDK does not ask again for calls whose stream was cut',
    file: 'src/sdk/wait.ts',
    edits: [
      [
        'if (failure !== null) this.#pauseFor(this.#backoff.failed(failure.retryAfterMs))',
        'if (failure !== null) return',
      ],
    ],
  },
}

/** Plants one bug; returns those that the model has to know. */
export function plantInSource(name: string | undefined): Set<ModelPlant> {
  if (name === undefined) return new Set()
  if (name in MODEL_PLANTS) return new Set([name as ModelPlant]) // just looked up
  const plant = SOURCE_PLANTS[name]
  if (plant === undefined) {
    throw new Error(`no such plant: ${[...Object.keys(MODEL_PLANTS), ...Object.keys(SOURCE_PLANTS)].join(', ')}`)
  }
  const url = new URL(`../../${plant.file}`, import.meta.url).href
  registerHooks({
    load(loaded, context, next) {
      const result = next(loaded, context)
      if (loaded !== url) return result
      let text = String(result.source)
      for (const [from, to] of plant.edits) {
        const parts = text.split(from)
        if (parts.length !== 2)
          throw new Error(`${plant.file} must have once, and has ${parts.length - 1} times: ${from}`)
        text = parts.join(to)
      }
      return { ...result, source: text }
    },
  })
  return new Set()
}
