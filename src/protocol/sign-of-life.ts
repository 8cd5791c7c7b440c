// How a client of live queries hears whether its peer is there.

/**
 * What a client sends to a peer that has been silent, to hear whether it is there. Word for word the same each time, so that
 * a peer that sleeps need not wake for it: then the answer is the one below, else a `Status` of that id.
 */
export const SIGN_OF_LIFE = '[{"id":0,"Status":{}}]'
export const SIGN_OF_LIFE_ANSWER = '{"Ok":0}'
