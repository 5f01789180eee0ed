#!/usr/bin/env bash
# Builds the real daemons that tests talk to, once, into a cache outside of the work tree:
#   tests/external/tools.sh kubo|cluster|witness|omniwitness|bagit-java
# Prints the folder of the programs on stdout. Needs the Go toolchain, or Java and Maven; exit code 3 where
# there is none.
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

judge() { # bagit-java with a class that prints its verdicts
  local version target
  version="$(sed -n 's|.*<artifactId>bagit</artifactId><version>\([^<]*\)<.*|\1|p' "$here/bagit-java/pom.xml")"
  target="$cache/bagit-java-$version"
  if [ ! -e "$target/Judge.class" ]; then
    if ! command -v mvn >/dev/null 2>&1 || ! command -v javac >/dev/null 2>&1; then
      echo "bagit-java $version is not in $cache, and there is no Java and Maven to fetch it with" >&2
      exit 3
    fi
    mkdir -p "$cache"
    made="$(mktemp -d "$cache/.bagit-java.XXXXXX")"
    trap 'rm -rf "$made"' EXIT
    mvn -q -B -f "$here/bagit-java/pom.xml" dependency:copy-dependencies -DoutputDirectory="$made" >&2
    javac -cp "$made/*" -d "$made" "$here/bagit-java/Judge.java"
    rm -rf "$target"
    mv "$made" "$target"
  fi
  echo "$target"
}

case "${1:-}" in
  bagit-java) judge ;;
  kubo) build kubo github.com/ipfs/kubo cmd/ipfs ;;
  cluster) build cluster github.com/ipfs-cluster/ipfs-cluster cmd/ipfs-cluster-service cmd/ipfs-cluster-ctl ;;
  witness) build witness filippo.io/torchwood cmd/litewitness ./checklog ;;
  omniwitness) build omniwitness github.com/transparency-dev/witness cmd/omniwitness ;;
  *) echo "usage: $0 kubo|cluster|witness|omniwitness|bagit-java" >&2; exit 1 ;;
esac
