#!/bin/sh
# Starts the gate, through which clients reach the SuperLink, and nobody anything else.
set -eu
cd "$(dirname "$0")"
exec fedbridge deploy gate .
