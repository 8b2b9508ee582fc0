#!/bin/sh
# Builds the addon and the tools' client with any C compiler; no make, no node-gyp. The N-API headers come with the
# npm package node-api-headers. Each file appears complete or not at all: a running gateway keeps the one it has.
set -eu
cd "$(dirname "$0")"
headers=../../node_modules/node-api-headers/include
mkdir -p build
compile() { # compile RESULT SOURCE FLAGS...
  result=build/$1 source=$2
  shift 2
  [ -e "$result" ] && [ -z "$(find build.sh "$source" -newer "$result")" ] && return
  # shellcheck disable=SC2086 # several words
  ${CC:-cc} ${CFLAGS:--O3} -Wall -Wextra -Werror -std=c11 "$@" -o "$result.$$" "$source" && mv "$result.$$" "$result"
}
compile tunwall.node tunwall.c -fPIC -shared -I"$headers"
compile filter.node filter.c -fPIC -shared -I"$headers"
compile tunwall-client client.c
