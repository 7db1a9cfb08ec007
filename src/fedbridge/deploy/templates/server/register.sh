#!/bin/sh
# Makes clients known to the running SuperLink: those named, or all that are not known yet.
# What they are called there is kept in nodes/.
#
#     ./register.sh [NAME...]
set -eu
. "$(dirname "$0")/flower.sh"
mkdir -p nodes
if [ $# -eq 0 ]; then
    for key in keys/*.pub; do
        name=$(basename "$key" .pub)
        [ -e "nodes/$name" ] || set -- "$@" "$name"
    done
fi
for name in "$@"; do
    answer=$(flwr supernode register --format json --name "$name" "keys/$name.pub" fedbridge)
    number=$(echo "$answer" | sed -n 's/.*"node-id": *"*\([0-9][0-9]*\).*/\1/p')
    if [ -z "$number" ]; then
        echo "$name: $answer" >&2
        exit 1
    fi
    echo "$number" >"$FLWR_HOME/node"
    mv "$FLWR_HOME/node" "nodes/$name"  # at once, for a run may be reading
    echo "$name is registered as node $number"
done
