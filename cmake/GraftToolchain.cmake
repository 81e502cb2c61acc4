# Compiler settings for every target of this project, and the packages that they link.

find_program(CCACHE_PROGRAM ccache)
if(CCACHE_PROGRAM)
  # The same file in another build folder or checkout is the same to ccache, a file that uses a precompiled header too.
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CMAKE_COMMAND} -E env
    CCACHE_BASEDIR=${CMAKE_SOURCE_DIR} CCACHE_SLOPPINESS=pch_defines,time_macros ${CCACHE_PROGRAM})
endif()

# graft_warnings: linked by our own code only, so that generated protobuf code stays out of it.
add_library(graft_warnings INTERFACE)
target_compile_options(graft_warnings INTERFACE
  -Wall -Wextra -Werror -Wno-unused-parameter -Wno-missing-field-initializers)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # GCC 12 reports overlaps that are none in std::string's own code (https://gcc.gnu.org/PR105329).
  target_compile_options(graft_warnings INTERFACE -Wno-restrict)
  # A source that is compiled with others may have a class of a header hold one of its anonymous namespace, as by itself.
  target_compile_options(graft_warnings INTERFACE $<$<BOOL:${GRAFT_UNITY}>:-Wno-subobject-linkage>)
endif()
if(CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
  target_compile_options(graft_warnings INTERFACE -Wthread-safety)
endif()

if(GRAFT_SANITIZE)
  add_compile_options(-fsanitize=${GRAFT_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all -g1)
  add_link_options(-fsanitize=${GRAFT_SANITIZE})
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    # What a sanitizer adds hides from GCC that std::regex's states are initialised.
    target_compile_options(graft_warnings INTERFACE -Wno-maybe-uninitialized)
    if(GRAFT_SANITIZE MATCHES "thread")
      # Where it is defined, Protobuf's map fields are larger than those of Debian's library. libstdc++ needs to know all the same.
      add_compile_options(-U__SANITIZE_THREAD__ -D_GLIBCXX_TSAN=1)
    endif()
  endif()
endif()

if(GRAFT_CLANG_TIDY)
  find_program(CLANG_TIDY_PROGRAM clang-tidy REQUIRED)
  set(CMAKE_CXX_CLANG_TIDY ${CLANG_TIDY_PROGRAM})
endif()

set(THREADS_PREFER_PTHREAD_FLAG ON)
find_package(Threads REQUIRED)
find_package(Protobuf REQUIRED)
find_package(absl CONFIG REQUIRED)
find_package(gRPC CONFIG REQUIRED)
find_package(spdlog CONFIG REQUIRED)
find_package(nlohmann_json CONFIG REQUIRED)
find_package(prometheus-cpp CONFIG REQUIRED)
find_package(SQLite3 REQUIRED)
find_package(OpenSSL REQUIRED)
find_package(ZLIB REQUIRED)
find_package(CLI11 CONFIG REQUIRED)
find_package(Boost 1.74 REQUIRED)
find_package(yaml-cpp CONFIG REQUIRED)
find_package(GTest CONFIG REQUIRED)
include(GoogleTest)

# Where tools/setup keeps what it fetched.
if("$ENV{XDG_CACHE_HOME}" STREQUAL "")
  set(GRAFT_CACHE $ENV{HOME}/.cache/graft)
else()
  set(GRAFT_CACHE $ENV{XDG_CACHE_HOME}/graft)
endif()
if(NOT GRAFT_TORCH STREQUAL "none")
  find_package(LibTorch REQUIRED)
endif()
