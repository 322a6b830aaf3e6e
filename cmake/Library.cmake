# One library per room (docs/development.md, "Rooms"), one test program per room and tier.
#
# A translation unit spends three quarters of its time on reading headers, most of
# them of Abseil, so the files of a room are compiled in batches (a unity build). The
# option NPG_UNITY is off where each file is compiled by itself: in `debug`, for a fast
# build after a change (with precompiled headers), and in `includes`, which finds missing
# #includes.
option(NPG_UNITY "Compile the files of a room in batches" ON)
option(NPG_PRECOMPILE "Read the headers that most files include once" OFF)

# Large enough that headers cost little; small enough to keep two processors busy to the
# end, and to compile a changed file again in less than half a minute.
set(NPG_UNITY_BATCH 12)

# npg_compile_settings(TARGET): the compile settings of every target of the project.
function(npg_compile_settings TARGET)
  target_include_directories(${TARGET} PRIVATE "${PROJECT_SOURCE_DIR}/userspace" "${PROJECT_SOURCE_DIR}/bpf")
  target_link_libraries(${TARGET} PRIVATE npg_warnings)
  set_target_properties(${TARGET} PROPERTIES UNITY_BUILD ${NPG_UNITY} UNITY_BUILD_BATCH_SIZE ${NPG_UNITY_BATCH})
endfunction()

# npg_precompile(TARGET HEADERS): TARGET uses the precompiled header of the library HEADERS.
function(npg_precompile TARGET HEADERS)
  if(NPG_PRECOMPILE)
    target_precompile_headers(${TARGET} REUSE_FROM ${HEADERS})
  endif()
endfunction()

# npg_room(NAME [DEPS ...] [PRIVATE ...]): the library of this folder, all .cc files of it.
# DEPS are the rooms that it may include and the packages that its headers need; packages
# that only its .cc files need are PRIVATE.
function(npg_room NAME)
  cmake_parse_arguments(ARG "" "" "DEPS;PRIVATE" ${ARGN})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS "${CMAKE_CURRENT_SOURCE_DIR}/*.cc")
  add_library(${NAME} STATIC ${sources})
  target_link_libraries(${NAME} PUBLIC ${ARG_DEPS} PRIVATE ${ARG_PRIVATE})
  npg_compile_settings(${NAME})
  npg_precompile(${NAME} npg_product_headers)
endfunction()

# npg_precompiled_headers(NAME HEADER...): a library of headers for npg_precompile().
function(npg_precompiled_headers NAME)
  file(CONFIGURE OUTPUT "${CMAKE_CURRENT_BINARY_DIR}/${NAME}.cc" CONTENT "// Only to precompile headers.\n")
  add_library(${NAME} OBJECT "${CMAKE_CURRENT_BINARY_DIR}/${NAME}.cc")
  npg_compile_settings(${NAME})
  target_precompile_headers(${NAME} PRIVATE ${ARGN})
endfunction()

# npg_kit(NAME SRCS ... [DEPS ...]): a library for tests.
function(npg_kit NAME)
  cmake_parse_arguments(ARG "" "" "SRCS;DEPS" ${ARGN})
  add_library(${NAME} STATIC ${ARG_SRCS})
  target_include_directories(${NAME} PUBLIC "${PROJECT_SOURCE_DIR}/tests")
  target_link_libraries(${NAME} PUBLIC ${ARG_DEPS})
  npg_compile_settings(${NAME})
endfunction()

# npg_test_program(NAME LABEL FOLDER [ISOLATED] [SHARDS NUMBER] [THREADS]
#                  [TIMEOUT SECONDS] [UNLISTED FILTER] [DEPS ...])
#
# The GoogleTest program of a room and tier: all .cc files of FOLDER. ctest runs it as
# one test. ISOLATED: each TEST as one, in its own process (and so in its own namespaces).
# SHARDS: as NUMBER tests, each with a part of the TESTs, for programs that take long.
# THREADS: it uses threads, so ThreadSanitizer runs it. UNLISTED: tests that need optional
# kernel features, which ctest does not run.
function(npg_test_program NAME LABEL FOLDER)
  cmake_parse_arguments(ARG "ISOLATED;THREADS" "SHARDS;TIMEOUT;UNLISTED" "DEPS" ${ARGN})
  if(NPG_THREADED_TESTS_ONLY AND NOT ARG_THREADS)
    return()
  endif()
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 60)
  endif()
  file(GLOB sources CONFIGURE_DEPENDS "${CMAKE_CURRENT_SOURCE_DIR}/${FOLDER}/*.cc")
  add_executable(${NAME} ${sources})
  target_include_directories(${NAME} PRIVATE "${PROJECT_SOURCE_DIR}/tests")
  target_link_libraries(${NAME} PRIVATE ${ARG_DEPS} npg_paths GTest::gmock GTest::gtest GTest::gtest_main)
  npg_compile_settings(${NAME})
  npg_precompile(${NAME} npg_test_headers)
  if(ARG_ISOLATED)
    set(filter "")
    if(ARG_UNLISTED)
      set(filter TEST_FILTER "-${ARG_UNLISTED}")
    endif()
    gtest_discover_tests(${NAME} TEST_PREFIX "${LABEL}." DISCOVERY_MODE PRE_TEST ${filter}
      PROPERTIES LABELS "${LABEL}" TIMEOUT ${ARG_TIMEOUT})
  elseif(ARG_SHARDS)
    # The longest tests start first (see tests/e2e).
    foreach(shard RANGE 1 ${ARG_SHARDS})
      math(EXPR index "${shard} - 1")
      set(test "${LABEL}.${FOLDER}.${shard}")
      add_test(NAME "${test}" COMMAND ${NAME})
      set_tests_properties("${test}" PROPERTIES LABELS "${LABEL}" TIMEOUT 900 COST 40
        ENVIRONMENT "GTEST_TOTAL_SHARDS=${ARG_SHARDS};GTEST_SHARD_INDEX=${index}")
    endforeach()
  else()
    add_test(NAME "${LABEL}.${FOLDER}" COMMAND ${NAME})
    set_tests_properties("${LABEL}.${FOLDER}" PROPERTIES LABELS "${LABEL}" TIMEOUT 900)
  endif()
endfunction()
