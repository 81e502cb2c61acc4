#pragma once

// What is wrong with a data set, all of it at once, by the rules of DataReader: those by which a
// job reads it.

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/text/data_reader.h"

namespace graft {

inline constexpr size_t kMaxListedProblems = 20;
// Of all that are listed together: what the trailer of an RPC holds.
inline constexpr size_t kMaxProblemBytes = 2000;

// Default: none.
class DataProblems {
 public:
  void Add(absl::string_view problem);
  // Those that were found behind these.
  void AddAll(const DataProblems& others);
  bool empty() const { return count_ == 0; }
  int64_t count() const { return count_; }
  // "line 3: …", the first ones in the order of the file, and "… and 7 more".
  std::vector<std::string> Lines() const;
  // The same in one line, "…; …".
  std::string Text() const;

 private:
  std::vector<std::string> first_;
  int64_t count_ = 0;
};

// Reads the rows (with max_rows > 0 no more than the first so many), up to an error that no row can
// be read behind. CANCELLED: `give_up`, asked now and then, says so; else codes of DataReader other
// than INVALID_ARGUMENT.
absl::StatusOr<DataProblems> FindProblems(DataReader& reader, int64_t max_rows,
                                          const std::function<bool()>& give_up);
// The same of what DataReader::Open answered: the beginning may be a problem, too.
absl::StatusOr<DataProblems> FindProblems(absl::StatusOr<DataReader> opened, int64_t max_rows,
                                          const std::function<bool()>& give_up);

}  // namespace graft
