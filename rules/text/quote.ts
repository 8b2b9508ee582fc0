// Strings as xtables_save_string() writes them, so that iptables-restore reads them back.

/** True for the characters that stand without quotes: letters, digits, `_` and `-`. */
function plain(text: string): boolean {
  for (let i = 0; i < text.length; i++) {
    const c = text.charCodeAt(i)
    const ok = (c >= 97 && c <= 122) || (c >= 65 && c <= 90) || (c >= 48 && c <= 57) || c === 45 || c === 95
    if (!ok) return false
  }
  return text.length > 0
}

/** One word of an iptables-save line: quoted unless it is plain, with `"`, `\` and `'` escaped. No leading blank. */
export function saveString(text: string): string {
  if (plain(text)) return text
  let out = '"'
  for (const c of text) out += c === '"' || c === '\\' || c === "'" ? `\\${c}` : c
  return `${out}"`
}
