#!/usr/bin/env bash
# Finds PostgreSQL's server programs, or installs them from Debian where this user may; prints their folder.
# Exit code 3 where neither works.
set -euo pipefail

find_server() {
  local folder
  for folder in "$(dirname "$(command -v initdb 2>/dev/null || echo /none/initdb)")" /usr/lib/postgresql/*/bin; do
    if [ -x "$folder/initdb" ] && [ -x "$folder/postgres" ]; then echo "$folder"; return 0; fi
  done
  return 1
}

find_server && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
  apt-get update -qq >&2 && apt-get install -y -qq postgresql >&2
  find_server && exit 0
fi
echo "PostgreSQL's initdb and postgres are not here: install the package postgresql" >&2
exit 3
