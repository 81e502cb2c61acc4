// The filter and order_by of lists.

#include "common/jobs/job_filter.h"

#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(graft::TextOf(data, size));
  const auto jobs = graft::ParseJobFilter(text);
  FUZZ_CHECK(jobs.ok() || absl::IsInvalidArgument(jobs.status()));
  const auto adapters = graft::ParseAdapterFilter(text);
  FUZZ_CHECK(adapters.ok() || absl::IsInvalidArgument(adapters.status()));
  const auto order = graft::ParseJobOrder(text);
  FUZZ_CHECK(order.ok() || absl::IsInvalidArgument(order.status()));
  return 0;
}
