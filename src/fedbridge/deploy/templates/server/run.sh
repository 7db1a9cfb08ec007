#!/bin/sh
# Starts the experiment of config.toml, or goes on with it from its newest checkpoint.
#
#     ./run.sh [NAME]      the run's folder is runs/NAME, runs/run by default
set -eu
. "$(dirname "$0")/flower.sh"
mkdir -p runs
{
    echo "run = '$PWD/runs/${1:-run}'"
    echo "nodes = '$PWD/nodes'"
    echo "config = '''"
    cat config.toml
    echo "'''"
} >"$FLWR_HOME/run.toml"
exec flwr run app fedbridge --stream --run-config "$FLWR_HOME/run.toml"
