#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# status_page.sh GUARD: the status page in a real browser. With
# NPG_SCREENSHOTS=FOLDER it writes screenshots there.
set -euo pipefail
# shellcheck source=tests/e2e/private_node.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/private_node.sh"
export NPG_FOLDER=$folder HOME=$folder XDG_CONFIG_HOME=$folder/config XDG_CACHE_HOME=$folder/cache

printf '[]\n' >"$folder/ports.json"
arguments=(--source file --nodeports-file "$folder/ports.json")
start_guard "${arguments[@]}"
/usr/bin/python3 "$(dirname -- "${BASH_SOURCE[0]}")/status_page.py" "$guard_pid" \
  "$guard" run "${guard_paths[@]}" "${arguments[@]}"
"$guard" unload "${guard_paths[@]}" >"$folder/unload"
