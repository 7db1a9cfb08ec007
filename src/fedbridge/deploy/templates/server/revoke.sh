#!/bin/sh
# Takes clients' right to connect away, at once; what they have taught the others stays.
#
#     ./revoke.sh NAME...
set -eu
. "$(dirname "$0")/flower.sh"
for name in "$@"; do
    flwr supernode unregister "$(cat "nodes/$name")" fedbridge
    rm "nodes/$name"
    mv "keys/$name.pub" "keys/$name.revoked"
done
