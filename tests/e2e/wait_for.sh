# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash

# wait_for SECONDS COMMAND...: waits until the command succeeds. It polls, because the conditions
# of the tests send no notification.
wait_for() {
  local deadline=$((SECONDS + $1))
  shift
  until "$@"; do
    [[ $SECONDS -lt $deadline ]] || return 1
    sleep 0.05
  done
}
