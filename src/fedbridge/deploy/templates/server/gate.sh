#!/bin/sh
# Starts the gate, through which clients reach the SuperLink and nothing else.
set -eu
. "$(dirname "$0")/flower.sh"
exec fedbridge deploy gate .
