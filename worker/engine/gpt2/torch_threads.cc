#include "worker/engine/gpt2/torch_threads.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <exception>
#include <mutex>

// Of the OpenMP runtime that LibTorch brings along (GCC's libgomp, whose binary interface these
// are; docs/decisions/0006-products-in-bf16.md).
extern "C" {
void GOMP_parallel(void (*body)(void*), void* data, unsigned num_threads, unsigned flags);
int omp_get_thread_num();
int omp_get_num_threads();
}

namespace graft {
namespace {

struct Loop {
  int64_t count;
  const std::function<void(int64_t, int64_t)>& body;
  std::once_flag failed;
  std::exception_ptr first_exception;
};

void RunPart(void* data) {
  Loop& loop = *static_cast<Loop*>(data);
  const int64_t part = omp_get_thread_num(), parts = omp_get_num_threads();
  const int64_t begin = loop.count * part / parts, end = loop.count * (part + 1) / parts;
  if (begin == end) return;
  try {
    loop.body(begin, end);
  } catch (...) {  // None may pass through libgomp.
    std::call_once(loop.failed, [&] { loop.first_exception = std::current_exception(); });
  }
}

}  // namespace

void ForEachOnTorchThreads(int64_t count, const std::function<void(int64_t, int64_t)>& body) {
  const int64_t threads = std::min<int64_t>(at::get_num_threads(), count);
  if (threads <= 1) {
    if (count > 0) body(0, count);
    return;
  }
  Loop loop = {count, body, {}, {}};
  GOMP_parallel(RunPart, &loop, static_cast<unsigned>(threads), 0);
  if (loop.first_exception) std::rethrow_exception(loop.first_exception);
}

}  // namespace graft
