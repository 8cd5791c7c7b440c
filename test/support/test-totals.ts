// The totals of a test run as one line, from the JSON that vitest reports.

/** What we read of vitest's JSON reporter. */
export interface TestReport {
  numPassedTests: number
  numFailedTests: number
  numPendingTests: number
  numTodoTests: number
  testResults: { status: 'passed' | 'failed'; assertionResults: { status: string }[] }[]
}

/**
 * `N passed, N failed`, and `, N skipped` where there are any. A file that does not load is one failure, since none of
 * its tests is counted. A run that failed outside of its tests (an unhandled rejection) never says `0 failed`.
 */
export function testTotals(report: TestReport, exitCode: number): string {
  const failedFiles = report.testResults.filter(
    ({ status, assertionResults }) =>
      status === 'failed' && !assertionResults.some((assertion) => assertion.status === 'failed'),
  )
  const counted = report.numFailedTests + failedFiles.length
  const failed = counted === 0 && exitCode !== 0 ? 1 : counted
  const skipped = report.numPendingTests + report.numTodoTests
  return `${report.numPassedTests} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`
}
