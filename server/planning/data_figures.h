#pragma once

// What a job's data come to: read as the job would read them, as far as a bound goes.

#include <cstdint>

#include "absl/status/statusor.h"
#include "graft/v1/model.pb.h"
#include "graft/v1/plan.pb.h"
#include "graft/v1/spec.pb.h"
#include "server/catalogue/catalogue.h"
#include "server/planning/row_overlap.h"
#include "server/streams/wanted.h"

namespace graft {

// Of each data set no more text is read, and no more rows: some 2 s of work on one core.
inline constexpr int64_t kMaxPlanTextBytes = int64_t{32} << 20;
inline constexpr int64_t kMaxPlanRows = 100'000;
// Of a larger one rows are not held out for a plan, which takes 16 bytes a row: nothing of it is
// read.
inline constexpr int64_t kMaxPlanSplitRows = 10'000'000;
inline constexpr int kMaxCutRows = 5;
inline constexpr size_t kMaxPlanIdBytes = 64;  // Of a row's id.

// Rows that have something, and the line of the first of them.
struct RowsThat {
  int64_t rows = 0;
  int64_t first_line = 0;
  void Add(int64_t line) {
    if (rows++ == 0) first_line = line;
  }
};

struct PartFigures {
  v1::DataPlan plan;
  // What an epoch goes over: rows, or blocks of plain text. 0: not known, for a part of the text
  // was not read.
  int64_t examples = 0;
  RowsThat empty_sources, empty_targets;
  // Letters and digits of the targets, and those of them that ROUGE's tokens consist of:
  // [A-Za-z0-9].
  int64_t letters = 0;
  int64_t rouge_letters = 0;
};

// A part that the job does not have has no name of a data set.
struct DataFigures {
  PartFigures train, validation;
  Overlap overlap;  // Of the rows that were read.
};

// `resolved` has its data sets, which a job can read (DataChecks). INVALID_ARGUMENT: what the
// engine would end the job for (a template longer than its limit; a text that the tokenizer cannot
// encode: data set and line are named); ABORTED: the data set is another one meanwhile; CANCELLED
// by `gone`; else codes of TokenizerCache and DataReader.
absl::StatusOr<DataFigures> ReadDataFigures(const Catalogue& catalogue, const v1::JobSpec& resolved,
                                            const v1::Model& model, int64_t virtual_tokens,
                                            const Gone& gone);

}  // namespace graft
