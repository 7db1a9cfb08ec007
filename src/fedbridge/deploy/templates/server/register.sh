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
    [ $# -gt 0 ] || echo "all clients of keys/ are registered already"
fi
for name in "$@"; do
    [ -e "keys/$name.pub" ] ||
        fail "$name: keys/$name.pub is missing; fedbridge deploy add writes it, or it was revoked"
done
[ $# -eq 0 ] || fedbridge deploy ready server .
count=0
for name in "$@"; do
    count=$((count + 1))
    if [ -e "nodes/$name" ]; then
        echo "$name is registered already, as node $(cat "nodes/$name")"
        continue
    fi
    echo "registering $name, $count of $#; this takes some seconds"
    answer=$(flwr supernode register --format json --name "$name" "keys/$name.pub" fedbridge) ||
        fail "$name: $answer"
    number=$(echo "$answer" | sed -n 's/.*"node-id": *"*\([0-9][0-9]*\).*/\1/p')
    [ -n "$number" ] || fail "$name: $answer"
    echo "$number" >"$FLWR_HOME/node"
    mv "$FLWR_HOME/node" "nodes/$name"  # at once, for a run may be reading
    echo "$name is registered as node $number"
done
