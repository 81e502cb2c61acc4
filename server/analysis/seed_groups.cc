#include "server/analysis/seed_groups.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <map>
#include <optional>
#include <string>

#include "absl/strings/str_cat.h"

namespace graft {
namespace {

// For 1 to 30 degrees of freedom.
constexpr double kT975[] = {12.706205, 4.302653, 3.182446, 2.776445, 2.570582, 2.446912,
                            2.364624,  2.306004, 2.262157, 2.228139, 2.200985, 2.178813,
                            2.160369,  2.144787, 2.131450, 2.119905, 2.109816, 2.100922,
                            2.093024,  2.085963, 2.079614, 2.073873, 2.068658, 2.063899,
                            2.059539,  2.055529, 2.051831, 2.048407, 2.045230, 2.042272};

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
    for (const auto& [name, value] : member->job.result().metrics()) {
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

double StudentT975(int freedom) {
  if (freedom <= static_cast<int>(std::size(kT975))) return kT975[freedom - 1];
  // M. Abramowitz, I. A. Stegun, Handbook of Mathematical Functions, 26.7.5.
  constexpr double z = 1.959963984540054;
  const double n = freedom;
  const double g1 = (std::pow(z, 3) + z) / 4;
  const double g2 = (5 * std::pow(z, 5) + 16 * std::pow(z, 3) + 3 * z) / 96;
  const double g3 = (3 * std::pow(z, 7) + 19 * std::pow(z, 5) + 17 * std::pow(z, 3) - 15 * z) / 384;
  return z + g1 / n + g2 / (n * n) + g3 / (n * n * n);
}

v1::SeedGroup::Statistic StatisticOf(const std::vector<double>& values) {
  const auto count = static_cast<double>(values.size());
  double sum = 0;
  for (const double value : values) sum += value;
  const double mean = sum / count;
  double squares = 0;
  for (const double value : values) squares += (value - mean) * (value - mean);
  const double deviation = std::sqrt(squares / (count - 1));
  const double half =
      StudentT975(static_cast<int>(values.size()) - 1) * deviation / std::sqrt(count);
  v1::SeedGroup::Statistic statistic;
  statistic.set_mean(mean);
  statistic.set_standard_deviation(deviation);
  statistic.set_low(mean - half);
  statistic.set_high(mean + half);
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
