#!/bin/sh
# Makes the virtual environment .venv and installs fedbridge with the extras named, pinned.
#
#     sh scripts/environment.sh lite0,emoji
#
# PYTHON=/path/to/python chooses the interpreter.
set -eu
cd "$(dirname "$0")/.."
extras=$1
log=.venv/pip.log

fail() {
    printf '%s\n' "" "error: $1" >&2
    exit 1
}

# says whether a command is a Python of 3.11 or later; a name that only pretends to be one is not
suits() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

find_python() {
    for name in ${PYTHON:-python3.11 python3.12 python3.13 python3}; do
        if suits "$name"; then
            echo "$name"
            return
        fi
    done
}

explain() {
    if grep -q -i -E 'no space left|disk quota' "$log"; then
        fail "the disk is full: the environment needs about 2 GB. The same command goes on afterwards."
    elif grep -q -i -E 'connection|name resolution|timed out|unreachable|proxy|ssl' "$log"; then
        fail "pip cannot reach a package index: is the network there? Behind a mirror, set PIP_INDEX_URL. The same command goes on afterwards."
    elif grep -q -i 'no matching distribution' "$log"; then
        fail "the package index lacks a pinned version for $(.venv/bin/python --version) on $(uname -sm); pip's message is above. Another Python (PYTHON=python3.11) may help."
    fi
    fail "pip could not install the packages; its message is above, all of it in $log."
}

with_pip() {
    .venv/bin/python -m pip install --quiet --disable-pip-version-check "$@"
}

# uv takes seconds where pip takes minutes; it does not read pip's settings, so it is told them
with_uv() {
    .venv/bin/python -m uv --version >/dev/null 2>&1 ||
        with_pip --constraint requirements/constraints.txt uv || return 1
    options=$(.venv/bin/python scripts/indexes.py) || return 1
    # shellcheck disable=SC2086  # one option is one word
    .venv/bin/python -m uv pip install --quiet --python .venv/bin/python \
        --index-strategy unsafe-best-match $options "$@"
}

# what uv cannot do, pip may; and its messages are those that are explained
install() {
    with_uv "$@" >"$log" 2>&1 || with_pip "$@" >"$log" 2>&1 || {
        tail -n 8 "$log" >&2
        explain
    }
}

if [ -x .venv/bin/python ] && ! suits .venv/bin/python; then
    fail ".venv holds no Python of 3.11 or later; remove it (make clean) and try again."
fi
if [ ! -x .venv/bin/python ]; then
    python=$(find_python)
    if [ -z "$python" ]; then
        fail "fedbridge needs Python 3.11 or later, and none was found under the names ${PYTHON:-python3.11, python3.12, python3.13 and python3}. Install one, or name it: make PYTHON=/path/to/python ..."
    fi
    echo "making .venv with $("$python" --version)"
    "$python" -m venv .venv || {
        rm -rf .venv
        fail "$python cannot make a virtual environment; on Debian and Ubuntu: apt-get install python3-venv."
    }
fi
if ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
    fail ".venv has no pip; remove it (make clean) and try again."
fi
echo "installing fedbridge[$extras] with pinned versions; the first time this takes a while"
install --constraint requirements/constraints.txt --editable ".[$extras]"
case ",$extras," in
*,dev,*) install --no-deps --requirement requirements/compared.txt ;;
esac
