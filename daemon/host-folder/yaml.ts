// YAML with places, through the `yaml` package.

import { isMap, isNode, LineCounter, parseDocument } from 'yaml'
import { PlaceError } from '../errors.ts'
import { Cursor, type Key, type SourceFile } from './source.ts'

/** The root of the document. Throws PlaceError where the text is not YAML. */
export function parseYaml(source: SourceFile): Cursor {
  const document = parseDocument(source.text, {
    lineCounter: new LineCounter(),
    prettyErrors: false,
    strict: true,
  })
  const mistake = document.errors[0] ?? document.warnings[0]
  if (mistake !== undefined)
    throw new PlaceError(`not YAML: ${mistake.message.split('\n')[0]}`, source.placeAt(mistake.pos[0]))

  const offsetOf = (path: readonly Key[], key = false): number => {
    for (let length = path.length; length >= 0; length--) {
      if (key && length === path.length && length > 0) {
        const parent = document.getIn(path.slice(0, -1), true)
        const pair =
          isMap(parent) && parent.items.find((p) => isNode(p.key) && String(p.key) === String(path.at(-1)))
        if (pair && isNode(pair.key) && pair.key.range) return pair.key.range[0]
      }
      const node = length === 0 ? document.contents : document.getIn(path.slice(0, length), true)
      if (isNode(node) && node.range) return node.range[0]
    }
    return 0
  }
  let value: unknown
  try {
    value = document.toJS({ maxAliasCount: 100 })
  } catch (error) {
    throw new PlaceError(`not YAML: ${(error as Error).message}`, source.placeAt(0))
  }
  return new Cursor(value, { source, offsetOf })
}
