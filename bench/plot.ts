// One plot as SVG, both axes logarithmic, readable on light and dark paper.

import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { packageRoot } from '../datapath/native/root.ts'
import { short } from './stats.ts'

export interface Line {
  readonly name: string
  readonly points: readonly (readonly [x: number, y: number])[]
}

export interface Plot {
  readonly title: string
  readonly x: {
    readonly name: string
    readonly from: number
    readonly to: number
    /** Other text for a tick. */
    readonly labels: ReadonlyMap<number, string>
  }
  readonly y: { readonly name: string }
  readonly lines: readonly Line[]
}

const [WIDTH, HEIGHT] = [720, 400]
const BOX = { left: 70, right: 540, top: 40, bottom: 350 } as const
const STYLE = `
  text { font: 13px sans-serif; fill: #333 }
  .title { font-size: 15px; font-weight: bold }
  .grid { stroke: #ccc }
  .l0 { stroke: #0a7d4f; fill: #0a7d4f } .l1 { stroke: #b5540b; fill: #b5540b } .l2 { stroke: #4557b8; fill: #4557b8 }
  polyline { fill: none !important; stroke-width: 2.5 } text.l0, text.l1, text.l2 { stroke: none }
  @media (prefers-color-scheme: dark) {
    text { fill: #ddd } .grid { stroke: #555 }
    .l0 { stroke: #3ecf8e; fill: #3ecf8e } .l1 { stroke: #f0954a; fill: #f0954a } .l2 { stroke: #93a4ff; fill: #93a4ff }
  }
`

const decades = (from: number, to: number): number[] => {
  const out: number[] = []
  for (let at = 10 ** Math.floor(Math.log10(from)); at <= to * 1.001; at *= 10)
    if (at >= from * 0.999) out.push(at)
  return out
}

const escaped = (text: string): string => text.replace(/[&<>]/g, (c) => `&#${c.charCodeAt(0)};`)

/** Baselines of the names beside the last points, moved apart where they would overlap. */
function spreadOut(wanted: readonly number[]): number[] {
  const order = wanted.map((_, i) => i).toSorted((a, b) => wanted[a]! - wanted[b]!)
  const out = [...wanted]
  for (let i = 1; i < order.length; i++) out[order[i]!] = Math.max(out[order[i]!]!, out[order[i - 1]!]! + 17)
  return out
}

/** Writes the plot. `file`: from the repository's root. */
export function plot(file: string, { title, x, y, lines }: Plot): void {
  const values = lines.flatMap((line) => line.points.map(([, value]) => value))
  const low = 10 ** Math.floor(Math.log10(Math.min(...values)))
  const high = 10 ** Math.ceil(Math.log10(Math.max(...values)))
  const at = (value: number, from: number, to: number): number => Math.log(value / from) / Math.log(to / from)
  const xOf = (value: number): number => BOX.left + (BOX.right - BOX.left) * at(value, x.from, x.to)
  const yOf = (value: number): number => BOX.bottom - (BOX.bottom - BOX.top) * at(value, low, high)
  const px = (value: number): string => value.toFixed(1)
  const names = spreadOut(lines.map((line) => yOf(line.points.at(-1)![1]) + 4))
  const parts = [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label="${escaped(title)}">`,
    `<style>${STYLE}</style>`,
    `<text class="title" x="${BOX.left}" y="22">${escaped(title)}</text>`,
    ...decades(low, high).flatMap((tick) => [
      `<line class="grid" x1="${BOX.left}" x2="${BOX.right}" y1="${px(yOf(tick))}" y2="${px(yOf(tick))}"/>`,
      `<text x="${BOX.left - 8}" y="${px(yOf(tick) + 4)}" text-anchor="end">${short(tick).replace(/\.0+/, '')}</text>`,
    ]),
    ...decades(x.from, x.to).flatMap((tick) => [
      `<line class="grid" x1="${px(xOf(tick))}" x2="${px(xOf(tick))}" y1="${BOX.top}" y2="${BOX.bottom}"/>`,
      `<text x="${px(xOf(tick))}" y="${BOX.bottom + 20}" text-anchor="middle">${x.labels.get(tick) ?? tick}</text>`,
    ]),
    `<text x="${(BOX.left + BOX.right) / 2}" y="${BOX.bottom + 40}" text-anchor="middle">${escaped(x.name)}</text>`,
    `<text transform="translate(18 ${(BOX.top + BOX.bottom) / 2}) rotate(-90)" text-anchor="middle">${escaped(y.name)}</text>`,
    ...lines.flatMap((line, i) => [
      `<polyline class="l${i}" points="${line.points.map(([a, b]) => `${px(xOf(a))},${px(yOf(b))}`).join(' ')}"/>`,
      ...line.points.map(([a, b]) => `<circle class="l${i}" cx="${px(xOf(a))}" cy="${px(yOf(b))}" r="3"/>`),
      `<text class="l${i}" x="${BOX.right + 10}" y="${px(names[i]!)}">${escaped(line.name)}</text>`,
    ]),
    '</svg>',
    '',
  ]
  writeFileSync(join(packageRoot(), file), parts.join('\n'))
}
