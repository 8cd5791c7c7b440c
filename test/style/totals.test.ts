// The last line of a check says what happened, also where vitest counts nothing.
import { expect, test } from 'vitest'
import { testTotals, type TestReport } from '../support/test-totals.ts'

const report = (numbers: Partial<TestReport>): TestReport => ({
  numPassedTests: 0,
  numFailedTests: 0,
  numPendingTests: 0,
  numTodoTests: 0,
  testResults: [],
  ...numbers,
})

test('passed and failed are always said, skipped where there are any', () => {
  expect(testTotals(report({ numPassedTests: 3 }), 0)).toBe('3 passed, 0 failed')
  expect(testTotals(report({ numPassedTests: 3, numFailedTests: 2, numPendingTests: 1, numTodoTests: 4 }), 1)).toBe(
    '3 passed, 2 failed, 5 skipped',
  )
})

test('a file that did not load is a failure; one whose tests failed is counted by them', () => {
  const testResults: TestReport['testResults'] = [
    { status: 'failed', assertionResults: [] },
    { status: 'failed', assertionResults: [{ status: 'passed' }, { status: 'failed' }] },
    { status: 'passed', assertionResults: [{ status: 'passed' }] },
  ]
  expect(testTotals(report({ numPassedTests: 2, numFailedTests: 1, testResults }), 1)).toBe('2 passed, 2 failed')
})

test('a run that failed outside of its tests does not say that nothing failed', () => {
  expect(testTotals(report({ numPassedTests: 9 }), 1)).toBe('9 passed, 1 failed')
})
