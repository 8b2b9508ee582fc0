# What every script needs on a bare machine, sourced by them: Debian packages (when root), npm packages, the build.
# shellcheck shell=bash

# paint SGR TEXT: colours and weights only on a terminal.
colour=no
[ -t 1 ] && colour=yes
paint() { if [ $colour = yes ]; then printf '\033[%sm%s\033[0m' "$1" "$2"; else printf '%s' "$2"; fi; }
say() { printf '%s\n' "$(paint 1 "$*")"; }
die() { printf '%s\n' "$*" >&2; exit 1; }

# need COMMAND PACKAGE WHY: notes a package that is missing.
missing_packages=()
need() {
  command -v "$1" >/dev/null 2>&1 && return 0
  printf 'missing: %-16s from Debian package %-14s %s\n' "$1" "$2" "$3"
  missing_packages+=("$2")
}

install_missing() {
  [ ${#missing_packages[@]} -eq 0 ] && return 0
  if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
    die "install them first (as root): apt-get install ${missing_packages[*]}"
  fi
  say "apt-get install ${missing_packages[*]}"
  apt_install 2>/dev/null || { apt-get update -qq && apt_install; } ||
    die "apt-get could not install ${missing_packages[*]}"
  hash -r
}

apt_install() {
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing_packages[@]}" >/dev/null
}

# The npm packages and the build, only where they are older than what they are made from. One at a time: a second
# script that starts meanwhile waits, then finds everything done.
build_tunwall() {
  command -v node >/dev/null || die "Node.js 20 or later is needed: install nodejs"
  node -e 'process.exit(Number(process.versions.node.split(".")[0]) >= 20 ? 0 : 1)' ||
    die "Node.js 20 or later is needed, this is $(node --version)"
  built && return 0
  command -v npm >/dev/null || die "npm is needed: install npm"
  command -v "${CC:-cc}" >/dev/null || die "a C compiler is needed: install gcc"
  [ -w . ] || die "$PWD is not built, and $(id -un) may not write there"
  (
    flock 9
    built && exit 0
    if ! installed; then
      say "npm ci: the packages that tunwall is built from"
      npm ci --no-audit --no-fund --no-update-notifier --loglevel=error || exit 1
    fi
    say "npm run build: TypeScript and the C addon"
    npm run --silent build && touch dist/.built
  ) 9>.build-lock || die "tunwall could not be built"
}

installed() { [ -e node_modules/.package-lock.json ] && ! [ package-lock.json -nt node_modules/.package-lock.json ]; }

built() {
  installed && [ -e dist/.built ] && [ -z "$(find daemon datapath conntrack rules bench test scripts package.json rollup.config.js \
    -newer dist/.built \( -name '*.ts' -o -name '*.[ch]' -o -name '*.sh' -o -name 'package.json' -o -name 'rollup.config.js' \) -print -quit)" ]
}
