// Every scenario there is, in the order in which they are played.
import type { Scenario } from './scenario.ts'
import { cutConnections } from './scenarios/cut-connections.ts'
import { FAULTS } from './scenarios/faults.ts'
import { freeze } from './scenarios/freeze.ts'
import { killRunners } from './scenarios/kill-runners.ts'
import { live } from './scenarios/live.ts'
import { lostAnswers } from './scenarios/lost-answers.ts'
import { noisyNeighbour } from './scenarios/noisy-neighbour.ts'
import { outage } from './scenarios/outage.ts'
import { poison } from './scenarios/poison.ts'
import { powerCuts } from './scenarios/power-cuts.ts'
import { races } from './scenarios/races.ts'
import { sqlFaults } from './scenarios/sql-faults.ts'

export const SCENARIOS: readonly Scenario[] = [
  killRunners,
  freeze,
  lostAnswers,
  cutConnections,
  ...FAULTS,
  races,
  powerCuts,
  poison,
  outage,
  noisyNeighbour,
  sqlFaults,
  live,
]
