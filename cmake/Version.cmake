# npg_version(SOURCE_DIR OUT): the semantic version of a source tree, for `nodeport-guard version`.
#
#   the tag vX.Y.Z is on HEAD          X.Y.Z, and the file VERSION must have it, too
#   N commits after a tag              X.Y.Z-dev.N, X.Y.Z being the release that comes next
#   a repository without such a tag    X.Y.Z-dev
#   a repository that git refuses      X.Y.Z-dev
#   no repository, as in a tarball     X.Y.Z
#
# The next release is that in VERSION if it is higher than the tag, or else one patch more
# than the tag. So a build between two releases sorts between them.
function(npg_version source_dir out)
  file(STRINGS "${source_dir}/VERSION" version LIMIT_COUNT 1)
  set(${out} "${version}" PARENT_SCOPE)
  find_package(Git QUIET)
  if(NOT Git_FOUND)
    return()
  endif()
  # The repository must be that of the tree, not one that contains the tree.
  execute_process(COMMAND "${GIT_EXECUTABLE}" -C "${source_dir}" rev-parse --show-cdup
    OUTPUT_VARIABLE up OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET RESULT_VARIABLE failed)
  if(failed AND EXISTS "${source_dir}/.git")
    # git refuses the repository (because of its owner, for example): no release.
    set(${out} "${version}-dev" PARENT_SCOPE)
    return()
  endif()
  if(failed OR NOT up STREQUAL "")
    return()
  endif()
  execute_process(
    COMMAND "${GIT_EXECUTABLE}" -C "${source_dir}" describe --tags --long --match "v[0-9]*.[0-9]*.[0-9]*"
    OUTPUT_VARIABLE described OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET RESULT_VARIABLE failed)
  if(failed OR NOT described MATCHES "^v(([0-9]+)\\.([0-9]+)\\.([0-9]+))-([0-9]+)-g[0-9a-f]+$")
    set(${out} "${version}-dev" PARENT_SCOPE)
    return()
  endif()
  set(tag "${CMAKE_MATCH_1}")
  set(commits "${CMAKE_MATCH_5}")
  math(EXPR next_patch "${CMAKE_MATCH_4} + 1")
  set(next "${CMAKE_MATCH_2}.${CMAKE_MATCH_3}.${next_patch}")
  if(version VERSION_LESS tag OR (commits EQUAL 0 AND NOT version STREQUAL tag))
    message(FATAL_ERROR "VERSION says ${version}, and git's last tag is v${tag}: write ${tag} or more into VERSION, "
      "or tag the commit v${version}")
  endif()
  if(commits GREATER 0)
    if(version VERSION_GREATER tag)
      set(next "${version}")
    endif()
    set(version "${next}-dev.${commits}")
  endif()
  set(${out} "${version}" PARENT_SCOPE)
endfunction()
