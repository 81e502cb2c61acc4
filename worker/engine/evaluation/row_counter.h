#pragma once

#include <cstdint>
#include <functional>
#include <utility>

#include "worker/engine/run_hooks.h"

namespace graft {

// Counts the rows of one evaluation, pass after pass.
class RowCounter {
 public:
  // `total`: rows of all passes. `tell` (may be empty) hears of every change.
  RowCounter(int64_t total, std::function<void(const RowsEvent&)> tell) : tell_(std::move(tell)) {
    rows_.total = total;
  }
  // `already` of its rows are done and take no time.
  void BeginPass(int64_t rows, int64_t already = 0) {
    rows_.pass_end = rows_.done + rows;
    rows_.done += already;
    rows_.pass_begin = rows_.done;
    Tell();
  }
  void Add(int64_t rows) {
    rows_.done += rows;
    Tell();
  }

 private:
  void Tell() const {
    if (tell_) tell_(rows_);
  }

  RowsEvent rows_;
  const std::function<void(const RowsEvent&)> tell_;
};

}  // namespace graft
