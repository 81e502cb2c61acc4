#pragma once

// A job's numbers over its steps, few enough to be drawn: JobService.ReadMetrics.

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "graft/v1/results.pb.h"
#include "server/store/job_store.h"
#include "server/streams/wanted.h"

namespace graft {

inline constexpr int kMaxCurves = 32;
inline constexpr int kDefaultCurvePoints = 500;
inline constexpr int kMaxCurvePoints = 2000;
// Names of metrics that an answer lists.
inline constexpr size_t kMaxListedMetrics = 1000;

// One metric's values, put together into points of 2^k steps: k is the least with which they are
// no more than `max_points`, and no more than that are ever held. Not thread-safe.
class CurveBuilder {
 public:
  explicit CurveBuilder(int max_points) : max_points_(static_cast<size_t>(max_points)) {}

  // Steps are not negative and do not go down.
  void Add(int64_t step, double value);
  bool empty() const { return points_.empty(); }
  v1::MetricCurve Take(const std::string& metric);

 private:
  void Halve();

  const size_t max_points_;
  int shift_ = 0;  // k.
  std::vector<v1::MetricPoint> points_;
};

// Reads the whole log, in pages; memory follows the points that are asked for. NOT_FOUND (the job,
// or a metric that it has no value of), INVALID_ARGUMENT, the store's errors; CANCELLED: nobody
// waits any more.
absl::StatusOr<v1::ReadMetricsResponse> ReadMetricCurves(JobStore& store,
                                                         const v1::ReadMetricsRequest& request,
                                                         const Gone& gone);

}  // namespace graft
