#include "common/text/data_problems.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/utf8.h"

namespace graft {
namespace {

// Rows between two looks at whether it is still wanted.
constexpr int64_t kRowsBetweenLooks = 64;

}  // namespace

void DataProblems::Add(absl::string_view problem) {
  if (first_.size() < kMaxListedProblems) first_.push_back(Shortened(problem, kMaxProblemBytes));
  ++count_;
}

void DataProblems::AddAll(const DataProblems& others) {
  for (const std::string& problem : others.first_) Add(problem);
  count_ += others.count_ - static_cast<int64_t>(others.first_.size());
}

std::vector<std::string> DataProblems::Lines() const {
  const size_t each = kMaxProblemBytes / std::max<size_t>(first_.size(), 1);
  std::vector<std::string> lines;
  for (const std::string& problem : first_) lines.push_back(Shortened(problem, each));
  const auto more = count_ - static_cast<int64_t>(first_.size());
  if (more > 0) lines.push_back(absl::StrCat("… and ", more, " more"));
  return lines;
}

std::string DataProblems::Text() const { return absl::StrJoin(Lines(), "; "); }

absl::StatusOr<DataProblems> FindProblems(DataReader& reader, int64_t max_rows,
                                          const std::function<bool()>& give_up) {
  DataProblems problems;
  DataRow row;
  for (int64_t rows = 0; max_rows <= 0 || rows < max_rows; ++rows) {
    if (rows % kRowsBetweenLooks == 0 && give_up()) {
      return absl::CancelledError("the caller has gone");
    }
    const absl::StatusOr<bool> more = reader.Next(&row);
    if (more.ok() && !*more) break;
    if (more.ok()) continue;
    if (!absl::IsInvalidArgument(more.status())) return more.status();
    problems.Add(more.status().message());
    if (!reader.can_go_on()) break;
  }
  return problems;
}

absl::StatusOr<DataProblems> FindProblems(absl::StatusOr<DataReader> opened, int64_t max_rows,
                                          const std::function<bool()>& give_up) {
  if (opened.ok()) return FindProblems(*opened, max_rows, give_up);
  if (!absl::IsInvalidArgument(opened.status())) return opened.status();
  DataProblems problems;
  problems.Add(opened.status().message());
  return problems;
}

}  // namespace graft
