#!/bin/sh
# Takes clients' right to connect away, at once; what they have taught the others stays.
#
#     ./revoke.sh NAME...
set -eu
. "$(dirname "$0")/flower.sh"
[ $# -gt 0 ] || fail "name the clients: ./revoke.sh NAME..."
for name in "$@"; do
    [ -e "nodes/$name" ] || fail "$name is not registered; those who are: $(ls nodes 2>/dev/null)"
done
fedbridge deploy ready server .
for name in "$@"; do
    flwr supernode unregister "$(cat "nodes/$name")" fedbridge
    rm "nodes/$name"
    mv "keys/$name.pub" "keys/$name.revoked"
    echo "$name may no longer connect"
done
