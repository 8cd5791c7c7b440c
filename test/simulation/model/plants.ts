// Bugs that can be planted in the model's statements: each is a guard or a rule that the real text has.

export const MODEL_PLANTS = {
  'complete-takes-old-token':
    'complete asks for the state alone, so that a lost attempt overwrites the result of the next',
  'fail-takes-old-token': 'fail asks for the state alone, so that a lost attempt ends the one that runs',
  'heartbeat-takes-old-token': 'a heartbeat asks for the state alone, so that a lost attempt hears that it still holds',
  'heartbeat-shortens-lease': 'a heartbeat that waited for its row takes back what a later one has promised',
  'claim-without-state-guard': 'the update of a claim takes what it selected, whatever became of it since',
  'sweep-without-expiry-guard': 'the update of the stall takes what it selected, although a heartbeat came in between',
  'cancel-without-token-guard': 'cancel ends a job that has ended since it looked',
  'expire-without-state-guard': 'expire ends a job that has ended since it looked',
  'attempt-counted-at-failure': 'the claim does not count the attempt; whoever ends it does',
  'fence-follows-attempt': 'the fence is the number of the attempt, so that it repeats after a give-back',
  'create-twice-overwrites': 'a create sent twice puts a pending row over the job that runs',
  'redelivery-makes-new-tokens': 'a repeated claim gets what it holds under new tokens',
  'give-back-of-redelivered': 'an attempt that was sent a second time is given back all the same',
  'give-back-without-bound': 'a job can be given back any number of times',
  'retention-forgets-early': 'retention deletes by the time of creation',
} as const

export type ModelPlant = keyof typeof MODEL_PLANTS
