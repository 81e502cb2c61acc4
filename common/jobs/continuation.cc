#include "common/jobs/continuation.h"

#include <set>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/base/status_macros.h"
#include "common/errors/status_details.h"
#include "common/jobs/names.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/message.h"
#include "google/protobuf/util/message_differencer.h"

namespace graft {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::util::MessageDifferencer;

constexpr char kCheckpoints[] = "checkpoints";

// The fields in which two messages differ, as paths: "training.learning_rate".
class DifferentFields : public MessageDifferencer::Reporter {
 public:
  using Path = std::vector<MessageDifferencer::SpecificField>;
  void ReportAdded(const Message&, const Message&, const Path& path) override { Add(path); }
  void ReportDeleted(const Message&, const Message&, const Path& path) override { Add(path); }
  void ReportModified(const Message&, const Message&, const Path& path) override {
    // Of a message it tells besides what of it differs.
    if (path.back().field->cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE) Add(path);
  }
  const std::set<std::string>& paths() const { return paths_; }

 private:
  void Add(const Path& path) {
    std::string text;
    for (const auto& part : path) {
      if (part.field == nullptr) continue;
      absl::StrAppend(&text, text.empty() ? "" : ".", part.field->name());
    }
    paths_.insert(text);
  }
  std::set<std::string> paths_;
};

bool BestIsToldByLoss(const v1::FineTuneSpec& spec) {
  const std::string& metric = spec.training().early_stopping().metric();
  return metric.empty() || metric == "eval/loss" || metric == "eval/perplexity";
}

}  // namespace

std::string CheckpointName(absl::string_view job_name, int64_t step) {
  return absl::StrCat(job_name, "/", kCheckpoints, "/", step);
}

absl::StatusOr<CheckpointRef> ParseCheckpointName(absl::string_view name, absl::string_view field) {
  const std::vector<absl::string_view> parts = absl::StrSplit(name, '/');
  CheckpointRef ref;
  const bool has_form = parts.size() == 4 && absl::StrCat(parts[0], "/") == kJobPrefix &&
                        parts[2] == kCheckpoints && absl::SimpleAtoi(parts[3], &ref.step) &&
                        ref.step > 0 && parts[3] == absl::StrCat(ref.step);
  if (!has_form) {
    return FieldViolation(
        field, absl::StrCat("is not of the form ", kJobPrefix, "{job}/", kCheckpoints, "/{step}"));
  }
  ASSIGN_OR_RETURN(ref.job, ParseJobId(parts[1], field));
  return ref;
}

bool ContinuesJob(const v1::FineTuneSpec& spec) {
  return absl::StartsWith(spec.init_from(), kJobPrefix);
}

std::string InitialAdapter(const v1::FineTuneSpec& spec) {
  return ContinuesJob(spec) ? "" : spec.init_from();
}

std::optional<CheckpointRef> InitialCheckpoint(const v1::FineTuneSpec& spec) {
  if (!ContinuesJob(spec)) return std::nullopt;
  const auto ref = ParseCheckpointName(spec.init_from(), "");
  return ref.ok() ? std::optional(*ref) : std::nullopt;
}

v1::FineTuneSpec FixedPart(const v1::FineTuneSpec& resolved) {
  v1::FineTuneSpec fixed = resolved;
  fixed.clear_init_from();
  fixed.clear_init_from_sha256();
  fixed.clear_output_name();
  if (BestIsToldByLoss(fixed)) fixed.clear_evaluation();
  v1::TrainingSpec& training = *fixed.mutable_training();
  training.clear_epochs();
  training.clear_max_steps();
  training.clear_eval_every_steps();
  training.clear_checkpoint();
  training.mutable_early_stopping()->clear_patience();
  training.mutable_early_stopping()->clear_min_delta();
  return fixed;
}

void CheckContinuation(const v1::FineTuneSpec& from, absl::string_view job,
                       const v1::FineTuneSpec& spec, const FieldScope& scope) {
  DifferentFields different;
  MessageDifferencer differencer;
  differencer.ReportDifferencesTo(&different);
  differencer.Compare(FixedPart(from), FixedPart(spec));
  for (const std::string& path : different.paths()) {
    scope.Add(path, absl::StrCat("must be that of ", job, ", from whose checkpoint it goes on"));
  }
}

}  // namespace graft
