#pragma once

// The filter and order_by of lists: a small part of https://google.aip.dev/160.
//
//   filter := [term {" AND " term}]      term := field operator value
//   value  := "quoted, with \" and \\" | word of [A-Za-z0-9._+/-]
//
// The operator is "="; times are compared by "<", "<=", ">", ">=" with one of RFC 3339, which is
// quoted. A field may stand once; a time once from below and once from above.

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "graft/v1/event.pb.h"

namespace graft {

// Moments from `from` on and before `before`.
struct TimeRange {
  absl::Time from = absl::InfinitePast();
  absl::Time before = absl::InfiniteFuture();
  bool Contains(absl::Time time) const { return from <= time && time < before; }
};

// Terms of ListJobs; what is set must all hold.
struct JobFilter {
  std::optional<v1::JobState> state;
  std::optional<bool> done;
  std::optional<std::string> study;
  std::optional<std::string> method;  // As MethodName gives it.
  std::optional<std::string> base_model;
  std::optional<std::string> display_name;
  std::optional<TimeRange> create_time;
  std::optional<TimeRange> end_time;          // No job that is not done has one.
  std::map<std::string, std::string> labels;  // labels.key = "value".
};

// Terms of ListAdapters.
struct AdapterFilter {
  std::optional<std::string> base_model;
  std::optional<std::string> job;  // With "jobs/".
};

enum class JobOrder {
  kNewestFirst,  // "create_time desc", the default.
  kOldestFirst,  // "create_time"
  kPriority,     // "priority desc": then oldest first.
};

// INVALID_ARGUMENT (violation of "filter" or "order_by") for an unknown field (the known ones are
// listed), a bad value or operator, a field named twice, or text that does not parse (with its
// position).
absl::StatusOr<JobFilter> ParseJobFilter(absl::string_view filter);
absl::StatusOr<AdapterFilter> ParseAdapterFilter(absl::string_view filter);
absl::StatusOr<JobOrder> ParseJobOrder(absl::string_view order_by);

}  // namespace graft
