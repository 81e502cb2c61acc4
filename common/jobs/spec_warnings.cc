#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/jobs/job_spec.h"
#include "common/jobs/spec_checks.h"

namespace graft {
namespace {

// Longer texts are not quoted.
constexpr size_t kMaxQuotedBytes = 200;

// What of `data` is not as in `trained`, which says nothing about what it does not set.
std::vector<std::string> Differences(const v1::DataSpec& data, const v1::DataSpec& trained) {
  std::vector<std::string> differences;
  const auto compare = [&](bool known, absl::string_view field, const auto& here,
                           const auto& there) {
    if (known && here != there) {
      differences.push_back(absl::StrCat(field, " is ", here, " instead of ", there));
    }
  };
  if (data.has_text_field()) return differences;
  if (trained.has_prompt_template() && data.prompt_template() != trained.prompt_template()) {
    differences.push_back(absl::StrCat("prompt_template is ", Quoted(data.prompt_template()),
                                       " instead of ", Quoted(trained.prompt_template())));
  }
  compare(trained.has_max_source_tokens(), "max_source_tokens", data.max_source_tokens(),
          trained.max_source_tokens());
  compare(trained.has_max_target_tokens(), "max_target_tokens", data.max_target_tokens(),
          trained.max_target_tokens());
  return differences;
}

}  // namespace

std::string Quoted(const std::string& text) {
  if (text.size() > kMaxQuotedBytes) return absl::StrCat("one of ", text.size(), " bytes");
  return absl::StrCat("\"", absl::Utf8SafeCEscape(text), "\"");
}

std::vector<v1::Warning> WarningsOf(const v1::JobSpec& resolved, const SpecFacts& facts) {
  std::vector<v1::Warning> warnings;
  if (!resolved.has_evaluate()) return warnings;
  std::vector<const v1::Adapter*> adapters = facts.adapters;
  if (facts.adapter != nullptr) adapters.push_back(facts.adapter);
  for (const v1::Adapter* adapter : adapters) {
    const std::vector<std::string> differences =
        Differences(resolved.evaluate().data(), adapter->trained_with());
    if (differences.empty()) continue;
    v1::Warning& warning = warnings.emplace_back();
    warning.set_code("NOT_AS_TRAINED");
    warning.set_text(absl::StrCat(adapter->name(),
                                  " was trained otherwise: ", absl::StrJoin(differences, ", "),
                                  "; its scores may be worse for that"));
  }
  return warnings;
}

}  // namespace graft
