# What all scripts here begin with: settings, quiet and offline Flower, the connection to it.
cd "$(dirname "$0")"
umask 077
fail() {
    echo "error: $*" >&2
    exit 2
}
command -v fedbridge >/dev/null && command -v flwr >/dev/null ||
    fail "fedbridge and flwr are not found; activate the environment that has fedbridge[flower]"
[ -e server.env ] || fail "$PWD/server.env is missing; fedbridge deploy init writes it"
. ./server.env
export FLWR_HOME="$PWD/flwr"
export FLWR_TELEMETRY_ENABLED=0 FLWR_DISABLE_UPDATE_CHECK=1
export FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION=1
export FLWR_SUPEREXEC_TASK_POLL_INTERVAL=0.2  # seconds until a message is worked on
mkdir -p "$FLWR_HOME"
cat >"$FLWR_HOME/config.toml" <<END
[superlink]
default = "fedbridge"

[superlink.fedbridge]
address = "127.0.0.1:$SUPERLINK_PORT"
root-certificates = '$PWD/ca.crt'
END
