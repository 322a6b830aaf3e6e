# SPDX-License-Identifier: Apache-2.0
# cmake -DSCRATCH=FOLDER -P version_test.cmake: what npg_version() says of trees with
# and without tags. Run by ctest.
cmake_minimum_required(VERSION 3.25)
include("${CMAKE_CURRENT_LIST_DIR}/../../cmake/Version.cmake")

set(tree "${SCRATCH}/tree")
set(checked 0)

function(git)
  execute_process(COMMAND git -C "${tree}" -c user.name=t -c user.email=t@localhost -c commit.gpgsign=false
    -c tag.gpgsign=false ${ARGV} OUTPUT_QUIET COMMAND_ERROR_IS_FATAL ANY)
endfunction()

function(commit)
  git(commit --quiet --allow-empty -m change)
endfunction()

function(expect expected)
  npg_version("${tree}" version)
  if(NOT version STREQUAL expected)
    message(SEND_ERROR "expected ${expected}, got ${version}")
  endif()
  math(EXPR count "${checked} + 1")
  set(checked ${count} PARENT_SCOPE)
endfunction()

# A contradiction ends the configuration: asked in a process of its own.
function(expect_refused said)
  file(WRITE "${SCRATCH}/refused.cmake"
    "include(\"${CMAKE_CURRENT_LIST_DIR}/../../cmake/Version.cmake\")\nnpg_version(\"${tree}\" version)\n")
  execute_process(COMMAND "${CMAKE_COMMAND}" -P "${SCRATCH}/refused.cmake"
    RESULT_VARIABLE failed OUTPUT_QUIET ERROR_VARIABLE error)
  string(REGEX REPLACE "[ \n]+" " " error "${error}")
  if(NOT failed OR NOT error MATCHES "${said}")
    message(SEND_ERROR "expected to be refused for '${said}', got: ${failed} ${error}")
  endif()
  math(EXPR count "${checked} + 1")
  set(checked ${count} PARENT_SCOPE)
endfunction()

file(REMOVE_RECURSE "${SCRATCH}")
file(MAKE_DIRECTORY "${tree}")
file(WRITE "${tree}/VERSION" "0.1.0\n")
# Inside another repository, maybe: not asked, for it is not this tree's.
expect(0.1.0)
git(init --quiet)
commit()
expect(0.1.0-dev)
git(tag not-a-version)
expect(0.1.0-dev)
git(tag v0.1.0)
expect(0.1.0)
commit()
commit()
expect(0.1.1-dev.2)
file(WRITE "${tree}/VERSION" "0.2.0\n")
expect(0.2.0-dev.2)
git(tag v0.3.0)
expect_refused("VERSION says 0.2.0, and git's last tag is v0.3.0")
file(WRITE "${tree}/VERSION" "0.4.0\n")
expect_refused("VERSION says 0.4.0, and git's last tag is v0.3.0")
# A repository that git refuses to read, as one of another owner is.
set(tree "${SCRATCH}/refused-tree")
file(WRITE "${tree}/VERSION" "0.1.0\n")
file(WRITE "${tree}/.git" "not what git writes there\n")
expect(0.1.0-dev)
file(REMOVE_RECURSE "${SCRATCH}")
if(NOT checked EQUAL 9)
  message(FATAL_ERROR "only ${checked} of 9 were checked")
endif()
