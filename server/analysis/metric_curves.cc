#include "server/analysis/metric_curves.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/limits.h"
#include "common/base/status_macros.h"
#include "common/errors/status_details.h"
#include "common/jobs/names.h"
#include "server/catalogue/logged_rows.h"

namespace graft {
namespace {

const char* const kUsualMetrics[] = {"train/loss", "eval/loss"};

v1::MetricPoint PointOf(int64_t step, double value) {
  v1::MetricPoint point;
  point.set_step(step);
  point.set_min(value);
  point.set_max(value);
  point.set_last(value);
  point.set_num_values(1);
  return point;
}

// What comes later into what came before.
void Join(v1::MetricPoint& point, const v1::MetricPoint& next) {
  // A value that is not finite is the least and the greatest only where there is no other.
  if (!std::isfinite(point.min())) {
    point.set_min(next.min());
    point.set_max(next.max());
  } else if (std::isfinite(next.min())) {
    point.set_min(std::min(point.min(), next.min()));
    point.set_max(std::max(point.max(), next.max()));
  }
  point.set_step(next.step());
  point.set_last(next.last());
  point.set_num_values(point.num_values() + next.num_values());
}

absl::Status CheckMetricsRequest(const v1::ReadMetricsRequest& request) {
  Violations violations;
  if (request.max_points() < 0 || request.max_points() > kMaxCurvePoints) {
    violations.Add("max_points", absl::StrCat("must be 1..", kMaxCurvePoints));
  }
  if (request.metrics_size() > kMaxCurves) {
    violations.Add("metrics", absl::StrCat("must name at most ", kMaxCurves));
  }
  std::set<std::string> names;
  for (const std::string& name : request.metrics()) {
    if (name.empty() || name.size() > kMaxNameBytes) {
      violations.Add("metrics", absl::StrCat("a name has 1..", kMaxNameBytes, " bytes"));
      break;
    }
    if (!names.insert(name).second) {
      violations.Add("metrics", absl::StrCat("has \"", name, "\" twice"));
    }
  }
  return violations.ToStatus();
}

// What one reading of the log found.
struct Curves {
  std::map<std::string, CurveBuilder> builders;
  std::set<std::string> seen;  // All metrics.
  std::vector<Rollback> rollbacks;
  int64_t last_event = 0;
};

// `last`: the event to end with; `undone`: what a reading before found.
absl::StatusOr<Curves> ReadLog(JobStore& store, const std::string& job,
                               const std::vector<std::string>& metrics, int max_points,
                               int64_t last, const std::vector<Rollback>& undone,
                               const Gone& gone) {
  Curves curves;
  for (const std::string& name : metrics) curves.builders.emplace(name, max_points);
  const auto visit_row = [&](const MetricRow& row) {
    for (const auto& [name, value] : row.values) {
      if (curves.seen.size() < kMaxListedMetrics) curves.seen.insert(name);
      const auto wanted = curves.builders.find(name);
      if (wanted != curves.builders.end()) wanted->second.Add(row.step, value);
    }
    return absl::OkStatus();
  };
  RETURN_IF_ERROR(ForEachEvent(store, job, last, gone, [&](const v1::JobEvent& event) {
    curves.last_event = event.sequence();
    NoteRollback(event, curves.rollbacks);
    return VisitRow(event, undone, visit_row);
  }));
  return curves;
}

absl::Status NoSuchMetrics(const std::string& job, const std::vector<std::string>& unknown,
                           const std::set<std::string>& seen) {
  const auto quoted = [](std::string* out, const std::string& name) {
    absl::StrAppend(out, "\"", name, "\"");
  };
  return absl::NotFoundError(
      absl::StrCat(job, " has no metric ", absl::StrJoin(unknown, ", ", quoted), "; ",
                   seen.empty() ? "it has none yet" : "it has: ", absl::StrJoin(seen, ", ")));
}

}  // namespace

void CurveBuilder::Add(int64_t step, double value) {
  v1::MetricPoint point = PointOf(step, value);
  if (!points_.empty() && points_.back().step() >> shift_ >= step >> shift_) {
    Join(points_.back(), point);
    return;
  }
  points_.push_back(std::move(point));
  while (points_.size() > max_points_) Halve();
}

void CurveBuilder::Halve() {
  ++shift_;
  size_t kept = 0;
  for (size_t i = 1; i < points_.size(); ++i) {
    if (points_[kept].step() >> shift_ == points_[i].step() >> shift_) {
      Join(points_[kept], points_[i]);
    } else {
      points_[++kept] = points_[i];
    }
  }
  points_.resize(kept + 1);
}

v1::MetricCurve CurveBuilder::Take(const std::string& metric) {
  v1::MetricCurve curve;
  curve.set_metric(metric);
  curve.set_steps_per_point(int64_t{1} << shift_);
  for (v1::MetricPoint& point : points_) {
    curve.set_num_values(curve.num_values() + point.num_values());
    *curve.add_points() = std::move(point);
  }
  points_.clear();
  return curve;
}

absl::StatusOr<v1::ReadMetricsResponse> ReadMetricCurves(JobStore& store,
                                                         const v1::ReadMetricsRequest& request,
                                                         const Gone& gone) {
  ASSIGN_OR_RETURN(const std::string id, ParseJobId(request.name()));
  RETURN_IF_ERROR(CheckMetricsRequest(request));
  const std::string job = JobName(id);
  const bool usual = request.metrics().empty();
  std::vector<std::string> metrics(request.metrics().begin(), request.metrics().end());
  if (usual) metrics.assign(std::begin(kUsualMetrics), std::end(kUsualMetrics));
  const int max_points = request.max_points() == 0 ? kDefaultCurvePoints : request.max_points();
  ASSIGN_OR_RETURN(const v1::Job head, store.GetJob(job));
  ASSIGN_OR_RETURN(Curves curves,
                   ReadLog(store, job, metrics, max_points, head.last_sequence(), {}, gone));
  if (!curves.rollbacks.empty()) {  // Some of the values do not count.
    const std::vector<Rollback> undone = std::move(curves.rollbacks);
    ASSIGN_OR_RETURN(curves,
                     ReadLog(store, job, metrics, max_points, head.last_sequence(), undone, gone));
  }
  v1::ReadMetricsResponse response;
  std::vector<std::string> unknown;
  for (const std::string& name : metrics) {
    CurveBuilder& builder = curves.builders.at(name);
    if (!builder.empty()) {
      *response.add_curves() = builder.Take(name);
    } else if (!usual) {
      unknown.push_back(name);
    }
  }
  if (!unknown.empty()) return NoSuchMetrics(job, unknown, curves.seen);
  for (const std::string& name : curves.seen) response.add_metrics(name);
  response.set_last_sequence(curves.last_event);
  return response;
}

}  // namespace graft
