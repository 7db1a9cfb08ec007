#!/bin/sh
# Starts the experiment of config.toml, or resumes it from its newest checkpoint.
#
#     ./run.sh [NAME]      the run's folder is runs/NAME, runs/run by default
set -eu
. "$(dirname "$0")/flower.sh"
name=${1:-run}
[ -e config.toml ] || fail "config.toml is missing; fedbridge deploy configure writes it"
[ -n "$(ls nodes 2>/dev/null)" ] || fail "no client is registered yet; first ./register.sh"
if [ -e "runs/$name/summary.json" ]; then
    echo "runs/$name is finished; fedbridge report runs/$name shows it, ./run.sh NAME begins another"
    exit 0
fi
fedbridge deploy ready server .
mkdir -p runs
{
    echo "run = '$PWD/runs/$name'"
    echo "nodes = '$PWD/nodes'"
    echo "config = '''"
    cat config.toml
    echo "'''"
} >"$FLWR_HOME/run.toml"
flwr run app fedbridge --stream --run-config "$FLWR_HOME/run.toml"
if [ ! -e "runs/$name/summary.json" ]; then  # Flower's own status says nothing of it
    echo "runs/$name is not finished; see above for the reason; ./run.sh $name resumes it" >&2
    exit 1
fi
echo "runs/$name is finished; fedbridge report runs/$name shows it and writes its page"
