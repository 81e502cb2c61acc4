#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/engine/data/example_source.h"
#include "worker/engine/gpt2/network.h"
#include "worker/engine/run_hooks.h"

namespace graft {

struct ValidationLoss {
  double loss = 0;  // Mean over all label tokens of all rows.
  int64_t num_tokens = 0;
};

// What a pass has summed up so far.
struct LossSum {
  double sum = 0;  // Of the label tokens' losses.
  int64_t num_tokens = 0;
  int64_t rows = 0;  // Rows that are done, in the pass's order.
  // Of these, each that is among the first kMaxRowLosses of the data set that have a label.
  std::vector<RowLoss> of_rows;
  bool knows_rows = true;  // false: an earlier build began the pass, and kept no of_rows.
};

// Loss over a whole data set in evaluation mode, without gradients. Rows go in order of length,
// batch_size at a time; the result does not depend on the seed. CANCELLED by `stop`, which is asked
// before every batch; INVALID_ARGUMENT when there is no label at all. `on_rows` (may be empty) is
// told after each batch how many rows it had. The pass goes on from `so_far`, where one is given
// (its rows are whole batches), and keeps it up to date: in parts it has the same bits as in one.
// Where memory does not hold a batch, it and those after it have half as many rows;
// RESOURCE_EXHAUSTED when that was one. At its end so_far->of_rows are by index.
absl::StatusOr<ValidationLoss> ComputeValidationLoss(
    const Gpt2Network& network, const ExampleSource& source, int64_t batch_size, StopToken& stop,
    const std::function<void(int64_t)>& on_rows = {}, LossSum* so_far = nullptr);

// Behind the last of the first kMaxRowLosses rows that have a label.
int64_t EndOfToldRows(const ExampleSource& source, int64_t num_prompt_rows);

// What so_far->of_rows would be after such a pass: with the same bits, as it has the same batches,
// but for those that have none of these rows. on_rows and codes as of ComputeValidationLoss.
absl::StatusOr<std::vector<RowLoss>> ComputeRowLosses(
    const Gpt2Network& network, const ExampleSource& source, int64_t batch_size, StopToken& stop,
    const std::function<void(int64_t)>& on_rows = {});

}  // namespace graft
