// Completes package-lock.json after `npm install`. npm leaves out the builds for other platforms that its registry
// did not have at that moment, and `npm ci` then refuses the lock file, everywhere. Adds an entry for each, so that
// npm knows what to pass by. usage: node scripts/lock-platforms.js
import { readFileSync, writeFileSync } from 'node:fs'

const file = new URL('../package-lock.json', import.meta.url)
const lock = JSON.parse(readFileSync(file, 'utf8'))
const SYSTEMS = 'aix|android|darwin|freebsd|linux|netbsd|openbsd|openharmony|sunos|win32'
const LIBC = { gnu: 'glibc', musl: 'musl' }

/** `@rollup/rollup-linux-x64-musl` is for linux, x64, musl. */
function platform(name) {
  const [, os, cpu, abi] = name.match(new RegExp(`\\b(${SYSTEMS})-([a-z0-9]+)-?(.*)$`))
  const libc = os === 'linux' ? LIBC[abi] : undefined
  return { os: [os], cpu: [cpu], ...(libc === undefined ? {} : { libc: [libc] }) }
}

const missing = Object.values(lock.packages)
  .flatMap((entry) => Object.entries(entry.optionalDependencies ?? {}))
  .filter(([name, version]) => /^\d/.test(version) && !(`node_modules/${name}` in lock.packages))
for (const [name, version] of missing)
  lock.packages[`node_modules/${name}`] = { version, dev: true, optional: true, ...platform(name) }
lock.packages = Object.fromEntries(Object.entries(lock.packages).sort(([a], [b]) => a.localeCompare(b, 'en')))
writeFileSync(file, `${JSON.stringify(lock, null, 2)}\n`)
console.log(`package-lock.json: ${missing.length} platforms added`)
