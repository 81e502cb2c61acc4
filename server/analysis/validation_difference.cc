#include "server/analysis/validation_difference.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "google/protobuf/text_format.h"

namespace graft {
namespace {

constexpr size_t kShownHashDigits = 12;

const v1::DataSpec& DataOf(const v1::Job& job) {
  const v1::JobSpec& spec = job.resolved_spec();
  return spec.has_evaluate() ? spec.evaluate().data() : spec.fine_tune().data();
}

// Where the validation rows come from, in words.
std::string Source(const v1::DataSpec& data) {
  switch (data.validation_source_case()) {
    case v1::DataSpec::kValidation:
      return absl::StrCat("\"", data.validation(), "\"");
    case v1::DataSpec::kValidationFraction:
      return absl::StrCat("held out of \"", data.train(), "\"");
    case v1::DataSpec::VALIDATION_SOURCE_NOT_SET:
      break;
  }
  return "none";
}

// Data sets with the same content are the same data, whatever their names.
std::string UnequalContent(const std::string& field, const std::string& ours,
                           const std::string& our_sha256, const std::string& theirs,
                           const std::string& their_sha256) {
  if (our_sha256 == their_sha256) return "";
  if (ours != theirs) return absl::StrCat(field, " is \"", ours, "\", not \"", theirs, "\"");
  return absl::StrCat("\"", ours, "\" had other content: SHA-256 ",
                      our_sha256.substr(0, kShownHashDigits), "..., not ",
                      their_sha256.substr(0, kShownHashDigits), "...");
}

// What differs, where there is no text that has come before.
void Add(std::vector<std::string>& parts, std::string part) {
  if (!part.empty()) parts.push_back(std::move(part));
}

std::string UnequalRows(const v1::Job& our_job, const v1::Job& their_job) {
  const v1::DataSpec& ours = DataOf(our_job);
  const v1::DataSpec& theirs = DataOf(their_job);
  std::vector<std::string> parts;
  if (ours.validation_source_case() != theirs.validation_source_case()) {
    return absl::StrCat("validation is ", Source(ours), ", not ", Source(theirs));
  }
  if (ours.validation_source_case() == v1::DataSpec::kValidation) {
    Add(parts, UnequalContent("validation", ours.validation(), ours.validation_sha256(),
                              theirs.validation(), theirs.validation_sha256()));
  } else if (ours.validation_source_case() == v1::DataSpec::kValidationFraction) {
    Add(parts, UnequalContent("train, which the rows are held out of,", ours.train(),
                              ours.train_sha256(), theirs.train(), theirs.train_sha256()));
    Add(parts, UnequalFields(ours, theirs, {"validation_fraction", "max_train_rows"}));
    // It draws the rows.
    Add(parts, UnequalFields(our_job.resolved_spec().fine_tune().training(),
                             their_job.resolved_spec().fine_tune().training(), {"seed"}));
  }
  Add(parts, UnequalFields(ours, theirs,
                           {"max_validation_rows", "source_field", "target_field", "text_field"}));
  return absl::StrJoin(parts, "; ");
}

std::string UnequalScoring(const v1::ScoringFingerprint& ours,
                           const v1::ScoringFingerprint& theirs) {
  if (ours.num_samples() == 0 || theirs.num_samples() == 0) return "";
  return UnequalDecoding(
      ours, theirs,
      {"num_samples", "use_stemmer", "sentence_splitter", "decoding", "max_new_tokens"});
}

}  // namespace

std::string UnequalFields(const google::protobuf::Message& ours,
                          const google::protobuf::Message& theirs,
                          std::initializer_list<const char*> names) {
  std::vector<std::string> unequal;
  for (const char* name : names) {
    const auto* field = ours.GetDescriptor()->FindFieldByName(name);
    std::string our_value;
    std::string their_value;
    google::protobuf::TextFormat::PrintFieldValueToString(ours, field, -1, &our_value);
    google::protobuf::TextFormat::PrintFieldValueToString(theirs, field, -1, &their_value);
    if (our_value == their_value) continue;
    unequal.push_back(absl::StrCat(name, " is ", our_value, ", not ", their_value));
  }
  return absl::StrJoin(unequal, "; ");
}

std::string UnequalDecoding(const v1::ScoringFingerprint& ours,
                            const v1::ScoringFingerprint& theirs,
                            std::initializer_list<const char*> names) {
  std::vector<std::string> parts;
  Add(parts, UnequalFields(ours, theirs, names));
  if (!ours.precision().empty() && !theirs.precision().empty()) {
    Add(parts, UnequalFields(ours, theirs, {"precision"}));
  }
  return absl::StrJoin(parts, "; ");
}

std::vector<v1::ValidationDifference> ValidationDifferences(const std::vector<Contestant>& jobs) {
  std::vector<v1::ValidationDifference> differences;
  const Contestant* first_fine_tune = nullptr;
  const Contestant* first_evaluate = nullptr;
  for (const Contestant& ours : jobs) {
    const bool evaluate = ours.job.resolved_spec().has_evaluate();
    const Contestant*& first = evaluate ? first_evaluate : first_fine_tune;
    const Contestant* theirs = first == nullptr ? &jobs.front() : first;
    const bool paired = evaluate && theirs->job.resolved_spec().has_evaluate();
    if (first == nullptr) first = &ours;
    if (theirs == &ours || paired) continue;
    v1::ValidationDifference difference;
    difference.set_not_comparable(UnequalRows(ours.job, theirs->job));
    difference.set_limits(
        UnequalFields(DataOf(ours.job), DataOf(theirs->job),
                      {"max_source_tokens", "max_target_tokens", "prompt_template"}));
    difference.set_scoring(UnequalScoring(ours.fingerprint(), theirs->fingerprint()));
    if (difference.not_comparable().empty() && difference.limits().empty() &&
        difference.scoring().empty()) {
      continue;
    }
    difference.set_job(ours.job.name());
    difference.set_to_job(theirs->job.name());
    difference.set_label(absl::StrCat(ours.label, " - ", theirs->label));
    differences.push_back(std::move(difference));
  }
  return differences;
}

}  // namespace graft
