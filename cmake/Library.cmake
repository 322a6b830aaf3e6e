# npg_library(NAME SRCS ... [HDRS ...] [DEPS ...] [PRIVATE_DEPS ...])
#
# One library per idea, as the folder has it. Includes are written from the
# repository's userspace/ and bpf/ folders.
function(npg_library NAME)
  cmake_parse_arguments(ARG "" "" "SRCS;HDRS;DEPS;PRIVATE_DEPS" ${ARGN})
  add_library(${NAME} STATIC ${ARG_SRCS} ${ARG_HDRS})
  target_include_directories(${NAME} PUBLIC
    "${PROJECT_SOURCE_DIR}/userspace" "${PROJECT_SOURCE_DIR}/bpf")
  target_link_libraries(${NAME} PUBLIC ${ARG_DEPS} PRIVATE ${ARG_PRIVATE_DEPS} npg_warnings)
endfunction()

# npg_test(NAME LABEL [UNLISTED] [THREADS] [TIMEOUT SECONDS] SRCS ... [DEPS ...])
#
# A GoogleTest binary; every TEST becomes a ctest test of its own, so that each
# runs in a process (and so in namespaces) of its own. UNLISTED: ctest does not
# know it, for it needs what not every kernel has. THREADS: something in it has more
# than one thread, which is what ThreadSanitizer looks at.
function(npg_test NAME LABEL)
  cmake_parse_arguments(ARG "UNLISTED;THREADS" "TIMEOUT" "SRCS;DEPS" ${ARGN})
  if(NPG_THREADED_TESTS_ONLY AND NOT ARG_THREADS)
    return()
  endif()
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 60)
  endif()
  add_executable(${NAME} ${ARG_SRCS})
  target_include_directories(${NAME} PRIVATE "${PROJECT_SOURCE_DIR}/tests")
  target_compile_definitions(${NAME} PRIVATE NPG_TESTDATA="${PROJECT_SOURCE_DIR}/tests/testdata")
  if(TARGET nodeport-guard)
    target_compile_definitions(${NAME} PRIVATE NPG_BINARY="$<TARGET_FILE:nodeport-guard>")
  endif()
  target_link_libraries(${NAME} PRIVATE ${ARG_DEPS} GTest::gmock GTest::gtest GTest::gtest_main npg_warnings)
  if(NPG_PRECOMPILED_TEST_HEADERS)
    target_precompile_headers(${NAME} REUSE_FROM npg_test_headers)
  endif()
  if(ARG_UNLISTED)
    return()
  endif()
  # Of a unit test nothing is left in the process: where it is slow to begin, all at once.
  if(NPG_TEST_PER_PROGRAM)
    add_test(NAME "${LABEL}.${NAME}" COMMAND ${NAME})
    set_tests_properties("${LABEL}.${NAME}" PROPERTIES LABELS "${LABEL}" TIMEOUT 900)
    return()
  endif()
  gtest_discover_tests(${NAME} TEST_PREFIX "${LABEL}." DISCOVERY_MODE PRE_TEST
    PROPERTIES LABELS "${LABEL}" TIMEOUT ${ARG_TIMEOUT})
endfunction()
