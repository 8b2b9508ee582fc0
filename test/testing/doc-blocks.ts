// Blocks of code in the documentation: files that its examples need, and commands with what they print.

import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

export interface Block {
  readonly language: string
  /** What stands behind the language: the name of a file; '' nothing. */
  readonly name: string
  readonly text: string
}

export function docBlocks(doc: string): Block[] {
  const text = readFileSync(fileURLToPath(new URL(`../../docs/${doc}`, import.meta.url)), 'utf8')
  return [...text.matchAll(/^```(\w+)(?: (\S+))?\n([\s\S]*?)^```$/gm)].map(([, language, name, body]) => ({
    language: language!,
    name: name ?? '',
    text: body!,
  }))
}

/** Writes the files that blocks are into a folder. */
export function writeBlocks(blocks: readonly Block[], folder: string): void {
  for (const { name, text } of blocks) {
    if (name === '') continue
    mkdirSync(dirname(join(folder, name)), { recursive: true })
    writeFileSync(join(folder, name), text)
  }
}

/** `$ command`, and what it prints. */
export function commands(blocks: readonly Block[]): { readonly command: string; readonly output: string }[] {
  return blocks
    .filter(({ language }) => language === 'console')
    .flatMap(({ text }) =>
      [...text.matchAll(/^\$ (.*)\n((?:(?!\$ ).*\n)*)/gm)].map(([, command, output]) => ({
        command: command!,
        output: output!,
      })),
    )
}
