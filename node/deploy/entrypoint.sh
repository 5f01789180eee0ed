#!/bin/sh
# Runs heritage with the passphrase from a file, which never becomes an argument that others could read.
set -eu
if [ -n "${HERITAGE_PASSPHRASE_FILE:-}" ]; then
  HERITAGE_PASSPHRASE="$(cat "$HERITAGE_PASSPHRASE_FILE")"
  export HERITAGE_PASSPHRASE
fi
exec heritage "$@"
