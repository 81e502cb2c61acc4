# graft_library(): the library of the current folder. Its name follows from the folder: common/text is graft_common_text.
#
#   graft_library([TEST_DEPS targets...] [PRIVATE_DEPS targets...] DEPS targets...)
#
# Every *.cc of the folder belongs to it, but *_main.cc (programs, see graft_program). TEST_DEPS are linked by the folder's
# tests only. PRIVATE_DEPS are linked, but their include paths reach this folder's sources alone. Include paths start at the root of the repository: #include "common/text/bpe.h".
function(graft_library)
  cmake_parse_arguments(ARG "" "" "DEPS;PRIVATE_DEPS;TEST_DEPS" ${ARGN})
  file(RELATIVE_PATH folder ${CMAKE_SOURCE_DIR} ${CMAKE_CURRENT_SOURCE_DIR})
  string(REPLACE "/" "_" name "graft_${folder}")
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*.cc)
  list(FILTER sources EXCLUDE REGEX "_main\\.cc$")
  if(sources)
    add_library(${name} STATIC ${sources})
    target_include_directories(${name} PUBLIC ${CMAKE_SOURCE_DIR})
    target_link_libraries(${name} PUBLIC ${ARG_DEPS} PRIVATE ${ARG_PRIVATE_DEPS} graft_warnings)
    graft_compile_together(${name})
  else()
    add_library(${name} INTERFACE)
    target_include_directories(${name} INTERFACE ${CMAKE_SOURCE_DIR})
    target_link_libraries(${name} INTERFACE ${ARG_DEPS})
  endif()
  set_property(GLOBAL APPEND PROPERTY GRAFT_FOLDERS ${folder})
  set_property(GLOBAL PROPERTY GRAFT_TEST_DEPS_${folder} "${ARG_TEST_DEPS}")
endfunction()

# graft_compile_together(target): compiles its sources eight at a time, which takes a third of the compiler's time: each header is
# read once, and each template instantiated once. So no two sources of a target may use one name in their anonymous namespaces for
# two things, nor leave a macro behind. GRAFT_UNITY=OFF, as in the preset dev, compiles them one by one.
function(graft_compile_together target)
  set_target_properties(${target} PROPERTIES UNITY_BUILD ${GRAFT_UNITY} UNITY_BUILD_BATCH_SIZE 8)
endfunction()

# graft_precompile(target SET headers...): compiles the target with these headers precompiled. The first target of a set compiles
# them, the others of that set reuse it; headers are given the first time. Sources still include what they use: other compilers,
# and clang-tidy, go without.
function(graft_precompile target set)
  if(NOT CMAKE_CXX_COMPILER_ID STREQUAL "GNU" OR GRAFT_SANITIZE)
    return()
  endif()
  # Without it ccache keeps none of these files.
  target_compile_options(${target} PRIVATE -fpch-preprocess)
  get_property(owner GLOBAL PROPERTY GRAFT_PRECOMPILED_${set})
  if(owner)
    target_precompile_headers(${target} REUSE_FROM ${owner})
  else()
    target_precompile_headers(${target} PRIVATE ${ARGN})
    set_property(GLOBAL PROPERTY GRAFT_PRECOMPILED_${set} ${target})
  endif()
endfunction()

# LibTorch's headers take a file from 13 s to 3.
function(graft_use_torch_headers target)
  graft_precompile(${target} torch <ATen/ATen.h> <torch/csrc/autograd/custom_function.h> <map> <memory> <span> <string> <vector>)
endfunction()

# gRPC's, for folders most of whose files see a service. SET: "client" for those without spdlog, which defines macros that all
# users of a precompiled header must share; else "server".
function(graft_use_grpc_headers target set)
  graft_precompile(${target} grpc_${set} <grpcpp/grpcpp.h> <google/protobuf/message.h> <google/protobuf/map.h> <absl/status/statusor.h>
    <functional> <map> <memory> <string> <vector>)
endfunction()

# graft_program(name SOURCE x_main.cc DEPS targets...): an executable in ${CMAKE_BINARY_DIR}/bin.
function(graft_program name)
  cmake_parse_arguments(ARG "" "SOURCE" "DEPS" ${ARGN})
  add_executable(${name} ${ARG_SOURCE})
  target_link_libraries(${name} PRIVATE ${ARG_DEPS} graft_warnings)
endfunction()

# graft_tests(): called once, in tests/. For each folder with a graft_library, all of tests/<folder>/*_test.cc become one
# test program, registered with CTest case by case and labelled with the folder. A *_test.cc whose folder has no library
# stops the configuration: no test may be dropped in silence.
function(graft_tests)
  get_property(folders GLOBAL PROPERTY GRAFT_FOLDERS)
  set(registered)
  foreach(folder IN LISTS folders)
    file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/${folder}/*_test.cc)
    list(APPEND registered ${sources})
    if(NOT sources)
      continue()
    endif()
    string(REPLACE "/" "_" name ${folder})
    get_property(test_deps GLOBAL PROPERTY GRAFT_TEST_DEPS_${folder})
    add_executable(${name}_test ${sources})
    target_link_libraries(${name}_test PRIVATE
      graft_${name} ${test_deps} GTest::gmock GTest::gtest_main graft_warnings)
    target_include_directories(${name}_test PRIVATE ${CMAKE_SOURCE_DIR})
    target_compile_definitions(${name}_test PRIVATE
      GRAFT_SOURCE_DIR="${CMAKE_SOURCE_DIR}" GRAFT_BINARY_DIR="${CMAKE_BINARY_DIR}")
    if(folder MATCHES "^worker/engine/(gpt2|methods|adapters|training|generation|evaluation)$")
      graft_use_torch_headers(${name}_test)
    elseif(NOT GRAFT_SANITIZE)
      # A test's own code need not be fast; compiling it should be. All share macros, so that they can share headers.
      target_compile_options(${name}_test PRIVATE -pthread $<$<CONFIG:Release>:-O1>)
      if(folder MATCHES "^(server/rpc|server/process|worker/agent|client|client/cli)$")
        string(REGEX MATCH "^client" client "${folder}")
        graft_precompile(${name}_test grpc_test${client} <gmock/gmock.h> <grpcpp/grpcpp.h> <google/protobuf/message.h>
          <google/protobuf/map.h> <absl/status/statusor.h>)
      else()
        graft_precompile(${name}_test test <gmock/gmock.h> <absl/status/statusor.h> <absl/strings/str_cat.h>)
      endif()
    endif()
    graft_compile_together(${name}_test)
    gtest_discover_tests(${name}_test DISCOVERY_TIMEOUT 60 PROPERTIES LABELS "${folder}" TIMEOUT 300)
  endforeach()
  file(GLOB_RECURSE all CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*_test.cc)
  foreach(test IN LISTS all)
    if(NOT test IN_LIST registered AND NOT (GRAFT_TORCH STREQUAL "none" AND test MATCHES "/worker/engine/"))
      message(FATAL_ERROR "${test} belongs to no graft_library: its folder must mirror one")
    endif()
  endforeach()
endfunction()
