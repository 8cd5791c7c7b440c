// What processes tell each other: many rings, few words, and nothing forgotten.
import { expect, test } from 'vitest'
import { addNews, addRing, textsOf, type Message, type News } from '../../src/bell/messages.ts'

const told = (news: News) => textsOf('me', news).map((text) => JSON.parse(text) as Message)
const ends = (count: number) => Array.from({ length: count }, () => ({ id: crypto.randomUUID(), outcome: null }))

test('the jobs of a service are one entry, however many rings told of them', () => {
  const news: News = new Map()
  for (let n = 0; n < 100_000; n++) addRing(news, { namespace: 'n', due: [{ service: `s${n % 2}`, jobs: 1 }] })
  expect(told(news)).toEqual([
    {
      from: 'me',
      due: [
        ['n', 's0', 50_000],
        ['n', 's1', 50_000],
      ],
    },
  ])
})

test('of more than a thousand ends, or services, of a namespace it says "look", and keeps none of them', () => {
  const news: News = new Map()
  addRing(news, { namespace: 'busy', ended: ends(1_000) })
  addRing(news, { namespace: 'busy', ended: ends(1) })
  addRing(news, { namespace: 'busy', ended: ends(1) })
  const [end] = ends(1)
  addRing(news, { namespace: 'calm', ended: end === undefined ? [] : [end] })
  for (let n = 0; n <= 1_000; n++) addRing(news, { namespace: 'wide', due: [{ service: `s${n}`, jobs: 1 }] })
  expect(told(news)).toEqual([
    { from: 'me', look: ['busy', 'wide'] },
    { from: 'me', ended: [['calm', end?.id]] },
  ])
})

test('news joined to news tells all of both', () => {
  const [before, since]: [News, News] = [new Map(), new Map()]
  const [first, second] = ends(2)
  addRing(before, { namespace: 'n', due: [{ service: 's', jobs: 2 }], ended: first === undefined ? [] : [first] })
  addRing(since, { namespace: 'n', due: [{ service: 's', jobs: 3 }], ended: second === undefined ? [] : [second] })
  addRing(since, { namespace: 'look', ended: ends(1_001) })
  addNews(before, since)
  expect(told(before)).toEqual([
    { from: 'me', look: ['look'] },
    { from: 'me', due: [['n', 's', 5]] },
    {
      from: 'me',
      ended: [
        ['n', first?.id],
        ['n', second?.id],
      ],
    },
  ])
})
