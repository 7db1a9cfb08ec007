#!/bin/sh
# Stops what is running, at the server and at all clients; ./run.sh NAME resumes it.
set -eu
. "$(dirname "$0")/flower.sh"
fedbridge deploy ready server .
runs=$(flwr list fedbridge --format json |
    awk -F'"' '$2 == "run-id" { run = $4 } $2 == "status" && $4 !~ /^finished/ { print run }')
[ -n "$runs" ] || echo "no run is going on"
for run in $runs; do flwr stop "$run" fedbridge; done
