#!/bin/sh
# Starts this site's SuperNode, which connects to the server and waits for its messages.
set -eu
cd "$(dirname "$0")"
umask 077  # what is kept here is private
. ./client.env
export FLWR_HOME="$PWD/flwr"
export FLWR_TELEMETRY_ENABLED=0 FLWR_DISABLE_UPDATE_CHECK=1
export FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION=1
export FLWR_SUPEREXEC_TASK_POLL_INTERVAL=0.2  # seconds until a message is worked on
exec flower-supernode \
    --superlink "$SUPERLINK" --root-certificates ca.crt \
    --auth-supernode-private-key key \
    --port "$RUNTIME_PORT" \
    --node-config "client=\"$CLIENT\" state=\"$PWD/state\" site=\"$PWD/site.toml\""
