// A figure: what was measured, and where there is one, its floor in the same run.

export interface Figure {
  value: number
  /** Three bare statements over pg; null where they say nothing about the figure. */
  floor: number | null
  ratio: number | null
}

export type Figures = Record<string, Figure>

export interface MeasureOptions {
  /** Seconds instead of minutes; the figures are those of a first impression. */
  isQuick: boolean
  say: (what: string) => void
}

export function figure(value: number, floor: number | null = null): Figure {
  return {
    value: round(value),
    floor: floor === null ? null : round(floor),
    ratio: floor === null ? null : round(value / floor),
  }
}

/** A measurement that failed must not look like one that was good. */
export function isMeasured({ value }: Figure): boolean {
  return Number.isFinite(value)
}

function round(value: number): number {
  return Number(value.toPrecision(4))
}
