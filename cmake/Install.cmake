# The files that `cmake --install` installs. The man page and the completions are
# generated from the definition of the command line; see userspace/cli.
set(npg_generated "${PROJECT_BINARY_DIR}/docs")
# By which tests and packages install, beside an administrator's own list of files.
set(CMAKE_INSTALL_DEFAULT_COMPONENT_NAME nodeport-guard)

install(TARGETS nodeport-guard RUNTIME DESTINATION "${CMAKE_INSTALL_BINDIR}")
install(FILES "${npg_generated}/nodeport-guard.8" DESTINATION "${CMAKE_INSTALL_MANDIR}/man8")
install(FILES "${npg_generated}/nodeport-guard.bash"
  DESTINATION "${CMAKE_INSTALL_DATADIR}/bash-completion/completions" RENAME nodeport-guard)
# Has the name of the program, unlike CMAKE_INSTALL_DOCDIR.
set(npg_docs "${CMAKE_INSTALL_DATADIR}/doc/nodeport-guard")
install(FILES README.md CHANGELOG.md LICENSE DESTINATION "${npg_docs}")
install(DIRECTORY LICENSES DESTINATION "${npg_docs}")

# The rest depends on the prefix, which `cmake --install --prefix` may still
# change: the path of the binary in the systemd unit (which systemd reads from
# lib/systemd/system, whatever the multiarch lib folder is called), and the
# folder of zsh completions (zsh of Debian has its own for packages).
install(CODE "
  set(npg_binary \"\${CMAKE_INSTALL_PREFIX}/${CMAKE_INSTALL_BINDIR}/nodeport-guard\")
  # Without an intermediate file, which two concurrent installations would share.
  set(npg_unit \"\${CMAKE_INSTALL_PREFIX}/lib/systemd/system/nodeport-guard.service\")
  configure_file(\"${PROJECT_SOURCE_DIR}/deploy/systemd/nodeport-guard.service.in\"
    \"\$ENV{DESTDIR}\${npg_unit}\" @ONLY)
  list(APPEND CMAKE_INSTALL_MANIFEST_FILES \"\${npg_unit}\")
  set(npg_zsh site-functions)
  if(CMAKE_INSTALL_PREFIX STREQUAL \"/usr\" AND EXISTS /etc/debian_version)
    set(npg_zsh vendor-completions)
  endif()
  file(INSTALL DESTINATION \"\${CMAKE_INSTALL_PREFIX}/${CMAKE_INSTALL_DATADIR}/zsh/\${npg_zsh}\"
    TYPE FILE FILES \"${npg_generated}/_nodeport-guard\")
")
