# cmake -P PrintVersion.cmake: prints the version of this tree as `nodeport-guard version`
# does, for scripts that build it without a repository.
include("${CMAKE_CURRENT_LIST_DIR}/Version.cmake")
npg_version("${CMAKE_CURRENT_LIST_DIR}/.." version)
execute_process(COMMAND "${CMAKE_COMMAND}" -E echo "${version}")
