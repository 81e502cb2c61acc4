#pragma once

#include <cstdint>
#include <functional>

namespace graft {

// Runs body(begin, end) over parts of [0, count), on the threads that LibTorch's own operators use
// (at::set_num_threads): others beside them would compete for the same cores. at::parallel_for is
// serial in code that is compiled without OpenMP, as ours is. Which part runs where does not
// matter to a body whose results depend on the index alone. The first exception of a part is thrown
// again when all are over. The body must not call operators of LibTorch.
void ForEachOnTorchThreads(int64_t count,
                           const std::function<void(int64_t begin, int64_t end)>& body);

}  // namespace graft
