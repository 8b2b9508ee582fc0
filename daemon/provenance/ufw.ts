// ufw: chains ufw-… and ufw6-…; what `ufw allow` and its like wrote stands in ufw-user-….

import type { Recogniser } from './author.ts'

const PARTS: readonly (readonly [RegExp, string])[] = [
  [/^user-limit-accept$/, 'rules of the user: limit, accepted'],
  [/^user-limit$/, 'rules of the user: limit exceeded'],
  [/^user-logging-(.+)$/, 'rules of the user: logging'],
  [/^user-(.+)$/, 'rules of the user'],
  [/^before-logging-/, 'logging before the rules'],
  [/^after-logging-/, 'logging after the rules'],
  [/^before-/, 'before.rules'],
  [/^after-/, 'after.rules'],
  [/^logging-(allow|deny)$/, 'logging'],
  [/^skip-to-policy-/, 'default policy'],
  [/^reject-/, 'default policy: reject'],
  [/^track-/, 'default policy: connections are tracked'],
  [/^not-local$/, 'destinations that are not this host'],
]

export const ufw: Recogniser = {
  program: 'ufw',
  words: {
    chains: [
      /^ufw6?-(?:before|after|user|reject|track|skip-to-policy|logging|not-local)(?:-(?:logging|limit|accept|input|output|forward|allow|deny))*$/,
    ],
    comments: [/^'?dapp_(?<name>.+?)'?$/],
    logs: [/^\[UFW (?:BLOCK|ALLOW|AUDIT|AUDIT INVALID|LIMIT BLOCK)\] $/],
  },
  chain(_, name) {
    const rest = /^ufw6?-(.+)$/.exec(name)?.[1]
    if (rest === undefined) return null
    return PARTS.find(([pattern]) => pattern.test(rest))?.[1] ?? ''
  },
  rule({ chain, comments }) {
    if (!/^ufw6?-user-/.test(chain)) return null
    // `ufw allow … comment` is kept in its own files; application profiles are named in the rule.
    const profile = comments.map((c) => /^'?dapp_(.+?)'?$/.exec(c)?.[1]).find((name) => name !== undefined)
    return profile === undefined ? null : `application ${profile.replaceAll('%20', ' ')}`
  },
}
