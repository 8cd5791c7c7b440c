// Every scenario there is, in the order in which they are played.
import type { Scenario } from './scenario.ts'
import { FAULTS } from './scenarios/faults.ts'
import { freeze } from './scenarios/freeze.ts'
import { killRunners } from './scenarios/kill-runners.ts'
import { lostAnswers } from './scenarios/lost-answers.ts'
import { races } from './scenarios/races.ts'

export const SCENARIOS: readonly Scenario[] = [killRunners, freeze, lostAnswers, ...FAULTS, races]
