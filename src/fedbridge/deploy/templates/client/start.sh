#!/bin/sh
# Starts this site's SuperNode, which connects to the server and waits for its messages.
set -eu
cd "$(dirname "$0")"
umask 077  # what is kept here is private
fail() {
    echo "error: $*" >&2
    exit 2
}
command -v fedbridge >/dev/null && command -v flower-supernode >/dev/null ||
    fail "fedbridge is not found; activate the environment that has fedbridge[flower]"
[ -e client.env ] || fail "$PWD/client.env is missing; the operator of the federation has it"
[ -e config.toml ] || fail "$PWD/config.toml is missing; the operator of the federation has it"
. ./client.env
export FLWR_HOME="$PWD/flwr"
export FLWR_TELEMETRY_ENABLED=0 FLWR_DISABLE_UPDATE_CHECK=1
export FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION=1
export FLWR_SUPEREXEC_TASK_POLL_INTERVAL=0.2  # seconds until a message is worked on
fedbridge deploy ready client .  # until the server is up and knows this site's key
echo "the server knows $CLIENT. Should the SuperNode end with 'Failed to activate', then one of this"
echo "site was there until a moment ago; the server misses it within a minute: start again."
exec flower-supernode \
    --superlink "$SUPERLINK" --root-certificates ca.crt \
    --auth-supernode-private-key key \
    --port "$RUNTIME_PORT" \
    --node-config "client=\"$CLIENT\" state=\"$PWD/state\" site=\"$PWD/site.toml\""
