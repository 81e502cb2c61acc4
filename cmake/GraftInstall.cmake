# What goes onto a machine, by component: cmake --install puts it below a prefix, and tools/package makes a Debian package of each.
#
#   client   graft, its man pages and completions
#   server   graft-server, its unit, Prometheus' rules and Grafana's boards
#   worker   graft-worker and graft-engine, with the LibTorch that it is linked to
#
# The files of /etc belong to the packages alone, which keep what somebody wrote there.

include(GNUInstallDirs)

install(TARGETS graft COMPONENT client)
install(TARGETS graft-server COMPONENT server)
install(TARGETS graft-worker COMPONENT worker)

# Texts that graft says of itself.
set(man ${CMAKE_BINARY_DIR}/man)
set(completions ${CMAKE_BINARY_DIR}/completions)
add_custom_command(OUTPUT ${man}/made ${completions}/made
  COMMAND ${CMAKE_COMMAND} -E rm -rf ${man} ${completions}
  COMMAND ${CMAKE_COMMAND} -E make_directory ${completions}
  COMMAND graft man --to ${man}
  COMMAND gzip -9 --no-name --recursive ${man}
  COMMAND graft completion bash > ${completions}/graft
  COMMAND graft completion zsh > ${completions}/_graft
  COMMAND graft completion fish > ${completions}/graft.fish
  COMMAND ${CMAKE_COMMAND} -E touch ${man}/made ${completions}/made
  DEPENDS graft VERBATIM)
add_custom_target(graft-texts ALL DEPENDS ${man}/made ${completions}/made)
install(DIRECTORY ${man}/ DESTINATION ${CMAKE_INSTALL_MANDIR}/man1 COMPONENT client FILES_MATCHING PATTERN "*.gz")
install(FILES ${completions}/graft DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions COMPONENT client)
install(FILES ${completions}/_graft DESTINATION ${CMAKE_INSTALL_DATADIR}/zsh/vendor-completions COMPONENT client)
install(FILES ${completions}/graft.fish DESTINATION ${CMAKE_INSTALL_DATADIR}/fish/vendor_completions.d COMPONENT client)

install(DIRECTORY deploy/prometheus deploy/grafana DESTINATION ${CMAKE_INSTALL_DATADIR}/graft COMPONENT server)
foreach(component server worker)
  # systemd looks below /usr/local, too.
  install(FILES deploy/systemd/graft-${component}.service DESTINATION lib/systemd/system COMPONENT ${component})
  install(FILES deploy/systemd/graft.sysusers DESTINATION lib/sysusers.d RENAME graft-${component}.conf COMPONENT ${component})
  install(FILES deploy/systemd/graft-${component}.default DESTINATION /etc/default RENAME graft-${component}
    COMPONENT ${component}-defaults EXCLUDE_FROM_ALL)
endforeach()

if(TARGET graft-engine)
  set(torch lib/graft)
  install(TARGETS graft-engine COMPONENT worker)
  set_target_properties(graft-engine PROPERTIES INSTALL_RPATH "$ORIGIN/../${torch}/torch/lib")
  # The folders stay as the wheels have them: LibTorch finds the other libraries by that. CUDA's load one another by name while they
  # run, so that all come along, but for what only Python needs.
  install(DIRECTORY ${LIBTORCH_ROOT}/torch/lib DESTINATION ${torch}/torch COMPONENT worker
    FILES_MATCHING PATTERN "*.so*" PATTERN "libtorch_python*" EXCLUDE PATTERN "libshm*" EXCLUDE)
  install(DIRECTORY ${LIBTORCH_ROOT}/nvidia DESTINATION ${torch} COMPONENT worker FILES_MATCHING PATTERN "*.so*" PATTERN "include" EXCLUDE)
  file(GLOB licences RELATIVE ${LIBTORCH_ROOT} ${LIBTORCH_ROOT}/*.dist-info/licenses)
  foreach(folder IN LISTS licences)
    string(REGEX REPLACE "-.*" "" wheel ${folder})
    install(DIRECTORY ${LIBTORCH_ROOT}/${folder}/ DESTINATION ${CMAKE_INSTALL_DOCDIR}-worker/${wheel} COMPONENT worker)
  endforeach()
endif()
