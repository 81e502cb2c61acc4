#pragma once

// What the load programs of tools/bench share.

#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/time.h"
#include "common/base/clock.h"

namespace graft {

inline absl::Duration BoottimeNow() { return Clock::Real().Boottime(); }

// Of all threads of a process, so far; 0 where it cannot be found out.
inline absl::Duration ProcessorTimeOf(int pid) {
  std::ifstream file(absl::StrCat("/proc/", pid, "/stat"));
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  // The name in brackets may hold anything; utime and stime are the 12th and 13th after it.
  const std::vector<std::string> fields =
      absl::StrSplit(text.substr(std::min(text.size(), text.rfind(')') + 2)), ' ');
  int64_t user = 0;
  int64_t system = 0;
  if (fields.size() < 13 || !absl::SimpleAtoi(fields[11], &user) ||
      !absl::SimpleAtoi(fields[12], &system)) {
    return absl::ZeroDuration();
  }
  return absl::Seconds(1) * (user + system) / sysconf(_SC_CLK_TCK);
}

// Times in ms, and what lies below a share of them.
class Times {
 public:
  void Add(absl::Duration time) { ms_.push_back(absl::ToDoubleMilliseconds(time)); }
  void Clear() { ms_.clear(); }
  size_t size() const { return ms_.size(); }
  // 0 where there is none.
  double QuantileMs(double share) {
    if (ms_.empty()) return 0;
    const auto place = static_cast<size_t>(share * static_cast<double>(ms_.size() - 1));
    std::nth_element(ms_.begin(), ms_.begin() + static_cast<int64_t>(place), ms_.end());
    return ms_[place];
  }

 private:
  std::vector<double> ms_;
};

// What some time cost this process and the server's, in cores.
class Spent {
 public:
  explicit Spent(int server_pid)
      : server_pid_(server_pid),
        began_(BoottimeNow()),
        own_(ProcessorTimeOf(getpid())),
        server_(ProcessorTimeOf(server_pid)) {}
  absl::Duration elapsed() const { return BoottimeNow() - began_; }
  absl::Duration server() const { return ProcessorTimeOf(server_pid_) - server_; }
  double client_cores() const {
    return absl::FDivDuration(ProcessorTimeOf(getpid()) - own_, elapsed());
  }
  double server_cores() const { return absl::FDivDuration(server(), elapsed()); }

 private:
  const int server_pid_;
  const absl::Duration began_;
  const absl::Duration own_;
  const absl::Duration server_;
};

}  // namespace graft
