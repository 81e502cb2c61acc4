# Run by the build, in script mode: writes OUTPUT from worker/engine/run/build_info.cc.in (build_info.h says what is in it).
#
#   cmake -DSOURCE_DIR=… -DOUTPUT=… -DLIBTORCH_VERSION=… -DCOMPILER=… -P WriteBuildInfo.cmake
set(lines "")
file(GLOB_RECURSE sources RELATIVE ${SOURCE_DIR} ${SOURCE_DIR}/common/* ${SOURCE_DIR}/proto/* ${SOURCE_DIR}/worker/engine/*)
list(SORT sources COMPARE STRING)
foreach(source IN LISTS sources)
  file(SHA256 ${SOURCE_DIR}/${source} hash)
  string(APPEND lines "${hash}  ${source}\n")
endforeach()
string(SHA256 CODE_SHA256 "${lines}")
configure_file(${SOURCE_DIR}/worker/engine/run/build_info.cc.in ${OUTPUT} @ONLY)
# configure_file leaves an equal file as it is; the build wants to see that it was looked at.
file(TOUCH_NOCREATE ${OUTPUT})
