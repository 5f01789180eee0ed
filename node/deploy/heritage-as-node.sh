#!/bin/sh
# Runs heritage as the node's own user, on the node's home, with the marks and the passphrase of the node: installed as
# /usr/local/bin/heritage, for root. Commands that another user runs on the home leave files that the node may not write.
set -eu
HERITAGE_HOME="${HERITAGE_HOME:-/var/lib/heritage}"
HERITAGE_MARKS=/var/lib/heritage-marks
export HERITAGE_HOME HERITAGE_MARKS
if [ -e /etc/heritage/environment ]; then
  set -a
  . /etc/heritage/environment
  set +a
fi
if [ -e /etc/heritage/passphrase ]; then
  HERITAGE_PASSPHRASE="$(cat /etc/heritage/passphrase)"
  export HERITAGE_PASSPHRASE
fi
exec runuser -u heritage -- /opt/heritage-ledger/bin/heritage "$@"
