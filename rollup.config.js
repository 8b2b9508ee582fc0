// The second half of the build: tsc makes a module of each source file in build/, this puts them together in dist/.
//
// V8 reads what one module imports from another anew at every use, and cannot reckon with it; inside one module a
// constant is a constant, unless it is exported. So everything that packets go through is one module (engine), and it exports
// other names for what it uses itself.

import { readFileSync } from 'node:fs'
import { isBuiltin } from 'node:module'

const { dependencies, peerDependencies } = JSON.parse(readFileSync('package.json', 'utf8'))
const packages = Object.keys({ ...dependencies, ...peerDependencies })
const isPackage = (id) => packages.some((name) => id === name || id.startsWith(`${name}/`))

/** What is run, or imported by who uses the package. */
const ENTRIES = [
  'daemon/main',
  'daemon/worker',
  'daemon/testing/index',
  'daemon/testing/vitest',
  'bench/main',
  'bench/connections',
  'bench/engine',
  'bench/sets',
  'bench/short',
  'scripts/fuzz-kernel',
]
const ENGINE = /\/build\/(datapath|conntrack|rules)\//

/** Keeps the lines of the TypeScript in source maps. */
const sourceMaps = {
  name: 'source-maps',
  load(id) {
    if (id.includes('/build/'))
      return { code: readFileSync(id, 'utf8'), map: JSON.parse(readFileSync(`${id}.map`, 'utf8')) }
    return null
  },
}

/**
 * What a module exports gets a name of its own, so that the module's uses are of a binding that nobody else sees. And what is
 * declared as a function could be assigned another, for which V8 looks at each call: it becomes a constant. One that is
 * called before it is defined would not load.
 */
const plainBindings = {
  name: 'plain-bindings',
  renderChunk(rendered, chunk) {
    if (chunk.name !== 'engine') return null
    const code = rendered.replace(/^function ([\w$]+)\(/gm, 'const $1 = function $1(')
    const [list, inside] = /^export \{(.*)\};\s*$/m.exec(code)
    const names = inside.split(',').map((name) => name.trim().split(' as '))
    const own = names.map(([local], i) => `const $$${i} = ${local};\n`).join('')
    const exported = names.map(([local, name = local], i) => `$$${i} as ${name}`).join(', ')
    // Behind all else, so that lines stay where source maps say.
    return { code: code.replace(list, () => `${own}export { ${exported} };\n`), map: null }
  },
}

// biome-ignore lint/style/noDefaultExport: rollup wants it
export default {
  input: Object.fromEntries(ENTRIES.map((name) => [name, `build/${name}.js`])),
  external: (id) => isBuiltin(id) || isPackage(id),
  plugins: [sourceMaps, plainBindings],
  output: {
    dir: 'dist',
    format: 'es',
    sourcemap: true,
    chunkFileNames: 'chunks/[name].js',
    manualChunks: (id) => (ENGINE.test(id) ? 'engine' : null),
  },
}
