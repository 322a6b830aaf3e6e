# cmake -P PrintVersion.cmake: what `nodeport-guard version` would say of this tree, for
# the scripts that build it where there is no repository.
include("${CMAKE_CURRENT_LIST_DIR}/Version.cmake")
npg_version("${CMAKE_CURRENT_LIST_DIR}/.." version)
execute_process(COMMAND "${CMAKE_COMMAND}" -E echo "${version}")
