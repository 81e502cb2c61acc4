#include "server/analysis/seed_groups.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/base/mean_interval.h"

namespace graft {
namespace {

// What a job was told but for the seed and the names that follow from it; nothing: no training is
// known.
std::optional<std::string> WithoutSeed(const Contestant& contestant) {
  if (!contestant.training) return std::nullopt;
  v1::JobSpec training = contestant.training->resolved_spec();
  if (!training.has_fine_tune()) return std::nullopt;
  training.mutable_fine_tune()->mutable_training()->clear_seed();
  training.mutable_fine_tune()->clear_output_name();
  v1::JobSpec evaluation;
  if (contestant.job.resolved_spec().has_evaluate()) {
    evaluation = contestant.job.resolved_spec();
    evaluation.mutable_evaluate()->clear_adapter();
    evaluation.mutable_evaluate()->clear_adapter_sha256();
    evaluation.mutable_evaluate()->clear_adapters();
    evaluation.mutable_evaluate()->clear_adapters_sha256();
  }
  const std::string told = training.SerializeAsString();
  return absl::StrCat(told.size(), ":", told, evaluation.SerializeAsString());
}

uint64_t SeedOf(const Contestant& contestant) {
  return contestant.training->resolved_spec().fine_tune().training().seed();
}

v1::SeedGroup MakeGroup(const std::vector<const Contestant*>& members) {
  v1::SeedGroup group;
  group.set_label(members[0]->label);
  std::map<std::string, std::vector<double>> values;
  for (const Contestant* member : members) {
    group.add_jobs(member->job.name());
    group.add_seeds(SeedOf(*member));
    for (const auto& [name, value] : member->metrics()) {
      if (std::isfinite(value)) values[name].push_back(value);
    }
  }
  for (const auto& [name, all] : values) {
    if (all.size() != members.size()) continue;
    v1::SeedGroup::Statistic& statistic = *group.add_metrics() = StatisticOf(all);
    statistic.set_metric(name);
  }
  return group;
}

}  // namespace

v1::SeedGroup::Statistic StatisticOf(const std::vector<double>& values) {
  const MeanInterval interval = IntervalOf(values);
  v1::SeedGroup::Statistic statistic;
  statistic.set_mean(interval.mean);
  statistic.set_standard_deviation(interval.deviation);
  statistic.set_low(interval.low);
  statistic.set_high(interval.high);
  return statistic;
}

std::vector<v1::SeedGroup> SeedGroups(const std::vector<Contestant>& jobs) {
  std::map<std::string, std::vector<const Contestant*>> alike;
  std::vector<std::string> order;
  for (const Contestant& job : jobs) {
    const std::optional<std::string> told = WithoutSeed(job);
    if (!told) continue;
    std::vector<const Contestant*>& members = alike[*told];
    if (members.empty()) order.push_back(*told);
    const bool again = std::any_of(members.begin(), members.end(), [&](const Contestant* member) {
      return SeedOf(*member) == SeedOf(job);
    });
    if (!again) members.push_back(&job);
  }
  std::vector<v1::SeedGroup> groups;
  for (const std::string& told : order) {
    if (alike[told].size() >= 2) groups.push_back(MakeGroup(alike[told]));
  }
  return groups;
}

}  // namespace graft
