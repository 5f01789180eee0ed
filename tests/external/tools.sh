#!/usr/bin/env bash
# Builds the real daemons that tests talk to, once, into a cache outside of the work tree:
#   tests/external/tools.sh kubo|cluster|witness|omniwitness
# Prints the folder of the programs on stdout. Needs the Go toolchain; exit code 3 where there is none.
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
cache="${XDG_CACHE_HOME:-$HOME/.cache}/heritage-ledger"

build() { # name, module, programs…
  local name="$1" module="$2"; shift 2
  local version target
  version="$(sed -n "s|^.*${module} \(v[0-9][^ ]*\).*$|\1|p" "$here/$name/go.mod" | head -n 1)"
  target="$cache/$name-$version"
  local program missing=
  for program in "$@"; do [ -x "$target/${program##*/}" ] || missing=yes; done
  if [ -n "$missing" ]; then
    if ! command -v go >/dev/null 2>&1; then
      echo "$name $version is not in $cache, and there is no Go toolchain to build it with" >&2
      exit 3
    fi
    echo "building $name $version; this takes some minutes, once" >&2
    mkdir -p "$cache"
    made="$(mktemp -d "$cache/.$name.XXXXXX")" # not local: the trap runs when the function is over
    trap 'rm -rf "$made"' EXIT
    for program in "$@"; do
      local package="$module/$program"
      case "$program" in ./*) package="$program" ;; esac
      (cd "$here/$name" && go build -mod=readonly -trimpath -o "$made/${program##*/}" "$package")
    done
    mkdir -p "$target"
    for program in "$@"; do mv -f "$made/${program##*/}" "$target/${program##*/}"; done
  fi
  echo "$target"
}

case "${1:-}" in
  kubo) build kubo github.com/ipfs/kubo cmd/ipfs ;;
  cluster) build cluster github.com/ipfs-cluster/ipfs-cluster cmd/ipfs-cluster-service cmd/ipfs-cluster-ctl ;;
  witness) build witness filippo.io/torchwood cmd/litewitness ./checklog ;;
  omniwitness) build omniwitness github.com/transparency-dev/witness cmd/omniwitness ;;
  *) echo "usage: $0 kubo|cluster|witness|omniwitness" >&2; exit 1 ;;
esac
