#include "common/text/rouge_table.h"

#include "common/text/bootstrap.h"

namespace graft {
namespace {

// One seed for all results, so that intervals of two evaluations of the same rows draw alike.
constexpr uint64_t kBootstrapSeed = 42;

}  // namespace

void RougeTable::Add(const RougeScores& scores) { rows_.push_back(scores); }

void RougeTable::Summarise(const std::string& prefix, std::map<std::string, double>* values) const {
  if (rows_.empty()) return;
  const double count = static_cast<double>(rows_.size());
  for (const RougeType& type : kRougeTypes) {
    std::vector<double> f;
    double precision = 0, recall = 0;
    for (const RougeScores& row : rows_) {
      const RougeScore& score = row.*type.scores;
      f.push_back(score.f);
      precision += score.precision;
      recall += score.recall;
    }
    const absl::StatusOr<BootstrapInterval> interval = BootstrapMean(f, kBootstrapSeed);
    if (!interval.ok()) return;  // Cannot be: there are values, and scores are finite.
    const std::string name = prefix + type.name;
    (*values)[name] = interval->mean;
    (*values)[name + "_low"] = interval->low;
    (*values)[name + "_high"] = interval->high;
    (*values)[name + "_precision"] = precision / count;
    (*values)[name + "_recall"] = recall / count;
  }
}

}  // namespace graft
