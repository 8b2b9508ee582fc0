// Rulesets for the benchmarks.

/** Conntrack, MASQUERADE and `filters` rules in FORWARD that match nothing of the traffic, then the rules that let it pass. */
export function gatewayRules(filters: number): string {
  const rules = [
    '*nat',
    ':PREROUTING ACCEPT [0:0]',
    ':INPUT ACCEPT [0:0]',
    ':OUTPUT ACCEPT [0:0]',
    ':POSTROUTING ACCEPT [0:0]',
    '-A POSTROUTING -o wan -j MASQUERADE',
    'COMMIT',
    '*filter',
    ':INPUT ACCEPT [0:0]',
    ':FORWARD DROP [0:0]',
    ':OUTPUT ACCEPT [0:0]',
  ]
  for (let i = 0; i < filters; i++) {
    const source = `198.18.${(i >> 8) & 255}.${i & 255}/32`
    const destination = `198.19.${(i >> 8) & 255}.${i & 255}/32`
    rules.push(
      `-A FORWARD -s ${source} -d ${destination} -p udp -m udp --dport ${1024 + (i % 60000)} -j DROP`,
    )
  }
  rules.push(
    '-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT',
    '-A FORWARD -i lan -o wan -j ACCEPT',
    'COMMIT',
    '',
  )
  return rules.join('\n')
}
