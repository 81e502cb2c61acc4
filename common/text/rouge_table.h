#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "common/text/rouge.h"

namespace graft {

// ROUGE of all rows of an evaluation. One thread.
class RougeTable {
 public:
  void Add(const RougeScores& scores);
  int64_t size() const { return static_cast<int64_t>(rows_.size()); }

  // Writes the means to `values`: PREFIXrouge1 (F), PREFIXrouge1_precision, _recall, and the 95 %
  // bootstrap interval of the mean F, _low and _high; likewise rouge2, rougeL and rougeLsum.
  // Nothing without rows.
  void Summarise(const std::string& prefix, std::map<std::string, double>* values) const;

 private:
  std::vector<RougeScores> rows_;
};

// The four types in the order of results: name and member.
struct RougeType {
  const char* name;
  RougeScore RougeScores::*scores;
};
inline constexpr RougeType kRougeTypes[] = {{"rouge1", &RougeScores::rouge1},
                                            {"rouge2", &RougeScores::rouge2},
                                            {"rougeL", &RougeScores::rouge_l},
                                            {"rougeLsum", &RougeScores::rouge_lsum}};

}  // namespace graft
