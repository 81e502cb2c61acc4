// graft plot.

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/cli/command.h"
#include "client/cli/output.h"
#include "client/cli/plot.h"
#include "client/cli/plot_output.h"
#include "client/cli/terminal.h"
#include "common/base/status_macros.h"
#include "nlohmann/json.hpp"

namespace graft {
namespace {

constexpr size_t kMostPlottedCurves = 26;  // As many as there are letters.
constexpr int kSvgPoints = 1000;

struct PlotOptions {
  std::vector<std::string> jobs;
  std::vector<std::string> metrics;
  std::string output;
};

// What the curves of one job come from.
struct JobCurves {
  v1::Job job;
  v1::ReadMetricsResponse numbers;
};

absl::StatusOr<std::vector<JobCurves>> FetchCurves(CliContext& context, const PlotOptions& options,
                                                   int max_points) {
  std::vector<JobCurves> all;
  std::set<std::string> known;
  for (const std::string& name : options.jobs) {
    JobCurves& curves = all.emplace_back();
    ASSIGN_OR_RETURN(curves.job, context.client->GetJob(name));
    if (!known.insert(curves.job.name()).second) {
      all.pop_back();
      continue;
    }
    v1::ReadMetricsRequest request;
    request.set_name(name);
    request.mutable_metrics()->Assign(options.metrics.begin(), options.metrics.end());
    request.set_max_points(max_points);
    ASSIGN_OR_RETURN(curves.numbers, context.client->ReadMetrics(request));
    if (curves.numbers.curves().empty()) {
      std::fprintf(stderr, "graft: %s has no loss to be drawn%s\n", curves.job.name().c_str(),
                   curves.job.done() ? "" : " yet");
    }
  }
  return all;
}

// Display names, where they tell the jobs apart.
std::vector<std::string> JobLabels(const std::vector<JobCurves>& all) {
  std::set<std::string> names;
  for (const JobCurves& each : all) names.insert(each.job.display_name());
  const bool distinct = names.size() == all.size() && !names.contains("");
  std::vector<std::string> labels;
  for (const JobCurves& each : all) {
    labels.push_back(distinct ? OneLine(each.job.display_name(), 40) : each.job.name());
  }
  return labels;
}

// Numbers of one kind go on the same axes: the loss of training and of validation.
std::string KindOf(const std::string& metric) { return metric.substr(metric.rfind('/') + 1); }

PlotCurve ToCurve(const v1::MetricCurve& curve, const std::string& label) {
  PlotCurve drawn;
  drawn.label = label;
  for (const v1::MetricPoint& point : curve.points()) {
    drawn.points.push_back(
        {static_cast<double>(point.step()), point.last(), point.min(), point.max()});
  }
  return drawn;
}

absl::StatusOr<std::vector<Plot>> MakePlots(const std::vector<JobCurves>& all) {
  std::vector<Plot> plots;
  std::map<std::string, size_t> by_kind;
  size_t curves = 0;
  const std::vector<std::string> labels = JobLabels(all);
  for (size_t i = 0; i < all.size(); ++i) {
    for (const v1::MetricCurve& curve : all[i].numbers.curves()) {
      const std::string kind = KindOf(curve.metric());
      const auto [place, is_new] = by_kind.try_emplace(kind, plots.size());
      if (is_new) plots.push_back({kind, {}});
      plots[place->second].curves.push_back(
          ToCurve(curve, absl::StrCat(labels[i], "  ", curve.metric())));
      ++curves;
    }
  }
  if (curves == 0) {
    return absl::FailedPreconditionError("there is nothing to draw");
  }
  if (curves > kMostPlottedCurves) {
    return absl::InvalidArgumentError(absl::StrCat(
        curves, " curves are too many to be told apart; name fewer jobs or one --metric (at most ",
        kMostPlottedCurves, " curves)"));
  }
  return plots;
}

void PrintJsonCurves(const std::vector<JobCurves>& all) {
  for (const JobCurves& each : all) {
    nlohmann::json row = nlohmann::json::parse(ToJson(each.numbers), nullptr, false);
    row["job"] = each.job.name();
    std::puts(row.dump().c_str());
  }
}

absl::Status RunPlot(CliContext& context, const PlotOptions& options) {
  const bool to_file = !options.output.empty();
  RETURN_IF_ERROR(CheckPlotFile(options.output));
  // Two dots a column.
  const auto columns = static_cast<int>(PlotColumns());
  const int max_points = to_file || context.json ? kSvgPoints : std::clamp(2 * columns, 2, 1000);
  ASSIGN_OR_RETURN(const std::vector<JobCurves> all, FetchCurves(context, options, max_points));
  if (context.json && !to_file) {
    PrintJsonCurves(all);
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(const std::vector<Plot> plots, MakePlots(all));
  return ShowPlots(context, plots, options.output);
}

}  // namespace

void AddPlotCommand(CLI::App& app, RunCommand& run) {
  auto options = std::make_shared<PlotOptions>();
  CLI::App* command = AddCommand(
      app, run, "plot", "Draw the curves of jobs: in the terminal, or as SVG",
      "graft plot jobs/k3f9 jobs/p2m7 --metric eval/loss --output losses.svg", options, RunPlot);
  command->add_option("jobs", options->jobs, "Their names")->required();
  command->add_option("--metric", options->metrics,
                      "Which one, as graft show names it (again for more); default: train/loss and "
                      "eval/loss");
  command->add_option("--output", options->output, "Write an SVG picture to this file");
}

}  // namespace graft
