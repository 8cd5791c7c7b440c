// Text of others on a terminal: what functions throw may hold anything, also what would move the cursor or paint the screen.

/** Control characters as escapes; line ends and tabs stay. */
export function printable(text: string): string {
  return text.replace(/[^\P{Cc}\n\t]|[\u2028\u2029\u202a-\u202e\u2066-\u2069]/gu, (character) => {
    return `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`
  })
}

/** The same on one line, of a bounded length. */
export function oneLine(text: string, max = 200): string {
  const line = printable(text).replaceAll(/\s*\n\s*/g, ' ⏎ ')
  return line.length > max ? `${line.slice(0, max)}…` : line
}

/** Says how far a run over many calls is, where somebody watches: one line, written over by each step. */
export function progress(): { step: (calls: readonly unknown[]) => void; end: () => void } {
  const { isTTY } = process.stderr
  let done = 0
  return {
    step(calls) {
      done += calls.length
      if (isTTY) process.stderr.write(`\r\u001b[K${count(done, 'call')} …`)
    },
    end() {
      if (isTTY && done > 0) process.stderr.write('\r\u001b[K')
    },
  }
}

/** A number as people read it, with its noun. */
export function count(number: number, noun: string): string {
  return `${number.toLocaleString('en-US')} ${noun}${number === 1 ? '' : 's'}`
}
