// The id of the job that runs another anew: derived from the old one, so that a redrive that is repeated finds it.

/**
 * Of the job `j`. A UUIDv7 by its form, with the time of the old id, so that it stands beside it in lists; nothing else
 * reads that time. The hash is there to spread, not to hide: md5 is what Postgres and CockroachDB both answer as hex.
 */
export const REDRIVEN_ID = /* sql fragment */ `(substr(j.id::text, 1, 14) || '7' || substr(md5(j.id::text), 1, 3)
  || '-8' || substr(md5(j.id::text), 4, 3) || '-' || substr(md5(j.id::text), 7, 12))::uuid`
