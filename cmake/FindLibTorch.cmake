# LibTorch as tools/setup unpacks it from the PyPI wheels (no CMake package of the wheel is used: the CUDA wheel's demands a
# CUDA toolkit). Defines LibTorch::LibTorch for the flavour GRAFT_TORCH.
#
#   cpu    c10 and torch_cpu
#   cuda   c10_cuda and torch_cuda as well, kept by --no-as-needed: nothing refers to them, they register themselves

set(LIBTORCH_VERSION 2.11.0)
set(LIBTORCH_ROOT ${GRAFT_CACHE}/libtorch-${LIBTORCH_VERSION}-${GRAFT_TORCH} CACHE PATH "Folder that holds torch/ and nvidia/")

# Both flavours' headers are the same wheel's. Where the CPU's are there they serve for both, so that the compiler sees the same
# command and ccache the same file.
find_path(LibTorch_INCLUDE_DIR ATen/ATen.h
  PATHS ${GRAFT_CACHE}/libtorch-${LIBTORCH_VERSION}-cpu/torch/include ${LIBTORCH_ROOT}/torch/include NO_DEFAULT_PATH)
find_library(LibTorch_CPU_LIBRARY torch_cpu PATHS ${LIBTORCH_ROOT}/torch/lib NO_DEFAULT_PATH)
find_library(LibTorch_C10_LIBRARY c10 PATHS ${LIBTORCH_ROOT}/torch/lib NO_DEFAULT_PATH)
# The OpenMP runtime whose threads LibTorch's operators use; by its full name, as the system's may be there, too.
find_file(LibTorch_OPENMP_LIBRARY libgomp.so.1 PATHS ${LIBTORCH_ROOT}/torch/lib NO_DEFAULT_PATH)
set(_libtorch_required LibTorch_INCLUDE_DIR LibTorch_CPU_LIBRARY LibTorch_C10_LIBRARY LibTorch_OPENMP_LIBRARY)
if(GRAFT_TORCH STREQUAL "cuda")
  find_library(LibTorch_CUDA_LIBRARY torch_cuda PATHS ${LIBTORCH_ROOT}/torch/lib NO_DEFAULT_PATH)
  find_library(LibTorch_C10_CUDA_LIBRARY c10_cuda PATHS ${LIBTORCH_ROOT}/torch/lib NO_DEFAULT_PATH)
  list(APPEND _libtorch_required LibTorch_CUDA_LIBRARY LibTorch_C10_CUDA_LIBRARY)
endif()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(LibTorch REQUIRED_VARS ${_libtorch_required}
  REASON_FAILURE_MESSAGE "run tools/setup --torch ${GRAFT_TORCH} first: it unpacks LibTorch into ${LIBTORCH_ROOT}")

if(LibTorch_FOUND AND NOT TARGET LibTorch::LibTorch)
  add_library(LibTorch::LibTorch INTERFACE IMPORTED)
  # SYSTEM keeps our warnings off; only worker/engine links this, for the folder holds another protobuf's headers too.
  target_include_directories(LibTorch::LibTorch SYSTEM INTERFACE ${LibTorch_INCLUDE_DIR})
  target_link_directories(LibTorch::LibTorch INTERFACE ${LIBTORCH_ROOT}/torch/lib)
  set(_libraries ${LibTorch_CPU_LIBRARY} ${LibTorch_C10_LIBRARY} ${LibTorch_OPENMP_LIBRARY})
  if(GRAFT_TORCH STREQUAL "cuda")
    set(_libraries -Wl,--no-as-needed ${LibTorch_CUDA_LIBRARY} ${LibTorch_C10_CUDA_LIBRARY} ${_libraries} -Wl,--as-needed)
    # The CUDA libraries live in sibling wheels that libtorch_cuda.so finds by its own RPATH; the linker needs to be told.
    file(GLOB _nvidia_folders ${LIBTORCH_ROOT}/nvidia/*/lib)
    foreach(_folder IN LISTS _nvidia_folders)
      list(APPEND _libraries -Wl,-rpath-link,${_folder})
    endforeach()
  else()
    list(APPEND _libraries -Wl,-rpath-link,${LIBTORCH_ROOT}/nvidia/cu13/lib)
  endif()
  target_link_libraries(LibTorch::LibTorch INTERFACE ${_libraries})
endif()
