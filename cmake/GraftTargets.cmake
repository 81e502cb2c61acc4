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
  else()
    add_library(${name} INTERFACE)
    target_include_directories(${name} INTERFACE ${CMAKE_SOURCE_DIR})
    target_link_libraries(${name} INTERFACE ${ARG_DEPS})
  endif()
  set_property(GLOBAL APPEND PROPERTY GRAFT_FOLDERS ${folder})
  set_property(GLOBAL PROPERTY GRAFT_TEST_DEPS_${folder} "${ARG_TEST_DEPS}")
endfunction()

# graft_use_torch_headers(target): compiles it with LibTorch's headers precompiled, which takes a file from 13 s to 3. The
# headers are compiled once, with the library of worker/engine/gpt2.
function(graft_use_torch_headers target)
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    # Without it ccache keeps none of these files.
    target_compile_options(${target} PRIVATE -fpch-preprocess)
  endif()
  if(target STREQUAL "graft_worker_engine_gpt2")
    target_precompile_headers(${target} PRIVATE
      <ATen/ATen.h> <torch/csrc/autograd/custom_function.h> <map> <memory> <span> <string> <vector>)
  else()
    target_precompile_headers(${target} REUSE_FROM graft_worker_engine_gpt2)
  endif()
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
    target_link_libraries(${name}_test PRIVATE graft_${name} ${test_deps} GTest::gmock GTest::gtest_main graft_warnings)
    target_include_directories(${name}_test PRIVATE ${CMAKE_SOURCE_DIR})
    target_compile_definitions(${name}_test PRIVATE
      GRAFT_SOURCE_DIR="${CMAKE_SOURCE_DIR}" GRAFT_BINARY_DIR="${CMAKE_BINARY_DIR}")
    if(folder MATCHES "^worker/engine/(gpt2|adapters|training|generation|evaluation)$")
      graft_use_torch_headers(${name}_test)
    endif()
    gtest_discover_tests(${name}_test DISCOVERY_TIMEOUT 60 PROPERTIES LABELS "${folder}" TIMEOUT 300)
  endforeach()
  file(GLOB_RECURSE all CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*_test.cc)
  foreach(test IN LISTS all)
    if(NOT test IN_LIST registered AND NOT (GRAFT_TORCH STREQUAL "none" AND test MATCHES "/worker/engine/"))
      message(FATAL_ERROR "${test} belongs to no graft_library: its folder must mirror one")
    endif()
  endforeach()
endfunction()
