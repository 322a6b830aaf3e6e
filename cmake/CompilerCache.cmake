# Uses ccache if it is installed and no other launcher is set. Checkouts share cached objects,
# because no object contains a path of its checkout (except tests/testing/paths.cc).
add_compile_options("-ffile-prefix-map=${PROJECT_SOURCE_DIR}=.")
find_program(NPG_CCACHE ccache)
if(NPG_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(settings "CCACHE_BASEDIR=${PROJECT_SOURCE_DIR}" CCACHE_NOHASHDIR=true)
  # A precompiled header stands for files that the compiler does not name again.
  if(NPG_PRECOMPILE)
    list(APPEND settings CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime)
    add_compile_options($<$<CXX_COMPILER_ID:GNU>:-fpch-preprocess>)
  endif()
  set(CMAKE_CXX_COMPILER_LAUNCHER "${CMAKE_COMMAND}" -E env ${settings} "${NPG_CCACHE}")
endif()
