# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash

# wait_for SECONDS COMMAND...: until the command succeeds. What it looks at tells
# nobody when it changes, so it is looked at again and again.
wait_for() {
  local deadline=$((SECONDS + $1))
  shift
  until "$@"; do
    [[ $SECONDS -lt $deadline ]] || return 1
    sleep 0.05
  done
}
