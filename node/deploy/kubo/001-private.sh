#!/bin/sh
# Closes a Kubo repository off from the public network. The image ipfs/kubo runs it before the daemon, every
# time; it may be run by hand as well, with IPFS_PATH set and the daemon stopped.
#
#   KUBO_TOKEN        the secret that heritage sends; without it the API is open to whoever reaches its port
#   KUBO_TOKEN_FILE   the same, in a file
#   SWARM_KEY_FILE    a key that all daemons of the private network share; one is made where there is none
set -eu
repo="${IPFS_PATH:-/data/ipfs}"

ipfs bootstrap rm --all >/dev/null
ipfs config Routing.Type none
ipfs config --json Provide.Enabled false
ipfs config --json AutoConf.Enabled false
ipfs config --json Discovery.MDNS.Enabled false
ipfs config --json Swarm.DisableNatPortMap true
# a gateway that fetches would read a copy back from the copy that it is compared with
ipfs config --json Gateway.NoFetch true

if [ -n "${KUBO_TOKEN_FILE:-}" ]; then KUBO_TOKEN="$(cat "$KUBO_TOKEN_FILE")"; fi
if [ -n "${KUBO_TOKEN:-}" ]; then
  case "$KUBO_TOKEN" in
    *[!A-Za-z0-9._~+/=-]*) echo "KUBO_TOKEN holds a character that no bearer token has" >&2; exit 1 ;;
  esac
  ipfs config --json API.Authorizations \
    "{\"heritage\": {\"AuthSecret\": \"bearer:$KUBO_TOKEN\", \"AllowedPaths\": [\"/api/v0\"]}}"
fi

# daemons with another key, or none, cannot even greet this one; QUIC and WebSockets have no such keys
if [ -n "${SWARM_KEY_FILE:-}" ]; then
  cp "$SWARM_KEY_FILE" "$repo/swarm.key"
elif [ ! -e "$repo/swarm.key" ]; then
  { printf '/key/swarm/psk/1.0.0/\n/base16/\n'; od -An -tx1 -N32 /dev/urandom | tr -d ' \n'; printf '\n'; } \
    >"$repo/swarm.key"
fi
chmod 600 "$repo/swarm.key"
ipfs config --json Swarm.Transports.Network '{"QUIC": false, "WebTransport": false, "WebRTCDirect": false}'
ipfs config --json Addresses.Swarm '["/ip4/0.0.0.0/tcp/4001", "/ip6/::/tcp/4001"]'
