// Counters and gauges of one process, in the text format of Prometheus. Nothing in them tells of a namespace or a payload.

const HELP = {
  callplane_requests_total: 'HTTP requests answered, by route and status.',
  callplane_calls_created_total: 'Calls that became jobs.',
  callplane_jobs_claimed_total: 'Jobs handed to runners.',
  callplane_jobs_ended_total: 'Jobs that ended, by how.',
  callplane_reports_refused_total: 'Reports of attempts that had lost their lease.',
  callplane_jobs_given_back_total: 'Jobs whose runner had gone before it heard of them.',
  callplane_jobs_swept_total: 'Jobs that the sweep moved, by the state that they went to.',
  callplane_namespaces_passed_over_total:
    'Namespaces that a sweep left as they were, since their bell could not be armed.',
} as const

type MetricName = keyof typeof HELP

/** What is as it is when it is asked for. */
const GAUGES = {
  callplane_live_clients: 'Clients of live queries that are connected to this process.',
  callplane_live_slow_clients: 'Of these, who leave unread what they are sent.',
  callplane_live_queries: 'Live queries that run here.',
  callplane_live_rows: 'Rows that they hold in all of their operators.',
  callplane_live_bytes: 'Memory that these take, about.',
  callplane_live_lag_ticks: 'Ticks between here and the end of the log, of the namespace where that is most.',
} as const

export type GaugeValues = Record<keyof typeof GAUGES, number>

export interface Metrics {
  count(name: MetricName, labels?: Record<string, string>, by?: number): void
  /** From where the gauges are read; without, there are none. */
  readGauges(read: () => GaugeValues): void
  /** What Prometheus scrapes. */
  text(): string
}

export function createMetrics(): Metrics {
  const values = new Map<MetricName, Map<string, number>>()
  let gauges: (() => GaugeValues) | null = null
  return {
    readGauges(read) {
      gauges = read
    },

    count(name, labels = {}, by = 1) {
      if (by === 0) return
      const key = Object.entries(labels)
        .map(([label, value]) => `${label}=${JSON.stringify(value)}`)
        .join(',')
      const series = values.get(name) ?? new Map<string, number>()
      series.set(key, (series.get(key) ?? 0) + by)
      values.set(name, series)
    },

    text() {
      const lines: string[] = []
      for (const [name, help] of Object.entries(HELP) as [MetricName, string][]) {
        // the keys of HELP are the names
        lines.push(`# HELP ${name} ${help}`, `# TYPE ${name} counter`)
        for (const [labels, value] of values.get(name) ?? []) lines.push(`${name}${labels && `{${labels}}`} ${value}`)
      }
      for (const [name, value] of Object.entries(gauges?.() ?? {})) {
        const help = GAUGES[name as keyof GaugeValues] // as above
        lines.push(`# HELP ${name} ${help}`, `# TYPE ${name} gauge`, `${name} ${value}`)
      }
      return `${lines.join('\n')}\n`
    },
  }
}
