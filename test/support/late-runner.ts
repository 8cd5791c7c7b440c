// A runner of the service `nobody`, which says what it was asked and ends.
import { Callplane } from 'callplane'

const plane = new Callplane()
const nobody = plane.service('nobody', {
  functions: {
    serves: (word: string) => {
      console.log(`served ${word}`)
      setImmediate(() => plane.close())
      return word
    },
  },
})
await nobody.start()
