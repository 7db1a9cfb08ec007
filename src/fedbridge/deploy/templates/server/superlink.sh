#!/bin/sh
# Starts the SuperLink. It can be reached from this machine only; clients come through gate.sh.
set -eu
. "$(dirname "$0")/flower.sh"
fedbridge deploy ready superlink .
exec flower-superlink \
    --host 127.0.0.1 --port "$SUPERLINK_PORT" \
    --ssl-ca-certfile ca.crt --ssl-certfile server.pem --ssl-keyfile server.key \
    --enable-supernode-auth --database state.db
