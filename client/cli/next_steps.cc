#include "client/cli/next_steps.h"

#include <algorithm>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/methods/method_spec.h"

namespace graft {
namespace {

class Steps {
 public:
  Steps(const v1::Job& job, const std::string& graft) : job_(job), graft_(graft) {}

  std::string Text() {
    if (job_.state() == v1::JOB_STATE_SUCCEEDED) AfterSuccess();
    if (job_.state() == v1::JOB_STATE_FAILED) AfterFailure();
    if (job_.state() == v1::JOB_STATE_CANCELLED && job_.step() > 0 && !evaluates()) {
      Say("to let it go on after all, from its last checkpoint if it has one:");
      Command(absl::StrCat("retry ", job_.name()));
    }
    return absl::StrJoin(lines_, "");
  }

 private:
  bool evaluates() const { return job_.resolved_spec().has_evaluate(); }
  const v1::FineTuneSpec& fine_tune() const { return job_.resolved_spec().fine_tune(); }
  const v1::EvaluateSpec& evaluate() const { return job_.resolved_spec().evaluate(); }

  void Say(const std::string& text) { lines_.push_back(text + "\n"); }
  void Command(const std::string& rest) { Say(absl::StrCat("  ", graft_, " ", rest)); }
  // The same job with other flags.
  void Again(const std::string& flags) {
    Command(absl::StrCat("show --json ", job_.name(), " >job.json"));
    Command(absl::StrCat(evaluates() ? "eval" : "submit", " --file job.json ", flags,
                         flags.empty() ? "" : " ", "--watch"));
  }

  void AfterSuccess() {
    const v1::JobResult& result = job_.result();
    Say("next:");
    if (!result.adapter().empty()) {
      Command(absl::StrCat("adapters download ", result.adapter()));
      Command(absl::StrCat("eval --adapter ", result.adapter(), " --data test.jsonl --watch"));
    } else if (!result.model().empty()) {
      Command(absl::StrCat("eval --base-model ", result.model(), " --data test.jsonl --watch"));
    } else {
      Command(absl::StrCat("show ", job_.name()));
      if (!result.adapters().empty()) {
        return Command(absl::StrCat("compare ", job_.name()));
      }
      if (result.fingerprint().num_samples() > 0) {
        Command(absl::StrCat("artifacts download ", job_.name(), " predictions.jsonl"));
      }
      Command(absl::StrCat("compare OTHER ", job_.name()));
    }
  }

  void AfterFailure() {
    switch (job_.failure_class()) {
      case v1::FAILURE_CLASS_DATA:
        return MendData();
      case v1::FAILURE_CLASS_CONFIG:
        Say("to try: another value for the setting that is named above");
        return Again("--FLAG VALUE");
      case v1::FAILURE_CLASS_OUT_OF_MEMORY:
        return NeedLessMemory();
      case v1::FAILURE_CLASS_DIVERGED:
        return LearnSlower();
      case v1::FAILURE_CLASS_INFRASTRUCTURE:
        return LookAtMachine();
      case v1::FAILURE_CLASS_DEADLINE:
        Say("to let it go on from its last checkpoint, without a deadline:");
        return Command(absl::StrCat("retry ", job_.name()));
      default:
        Say("what happened before (a bug of graft: please report it with this):");
        return Command(absl::StrCat("logs ", job_.name()));
    }
  }

  void MendData() {
    const v1::DataSpec& data = evaluates() ? evaluate().data() : fine_tune().data();
    const std::string& base = evaluates() ? evaluate().base_model() : fine_tune().base_model();
    Say("to try: mend the row and the field that are named above, or name other fields");
    if (data.has_text_field()) {
      Say(absl::StrCat("  (now --text-field ", data.text_field(), "); how rows are read:"));
    } else {
      Say(absl::StrCat("  (now --source-field ", data.source_field(), " --target-field ",
                       data.target_field(), "); how rows are read:"));
    }
    for (const std::string& name : {data.train(), data.validation()}) {
      if (name.empty()) continue;
      Command(absl::StrCat("datasets preview ", name, " --base-model ", base,
                           data.has_text_field() ? " --text-field " : "", data.text_field()));
    }
  }

  void NeedLessMemory() {
    const int64_t batch =
        evaluates() ? evaluate().batch_size() : fine_tune().training().batch_size();
    const int64_t half = batch % 2 == 0 ? batch / 2 : 1;
    if (batch <= 1) {
      const v1::DataSpec& data = evaluates() ? evaluate().data() : fine_tune().data();
      if (data.has_text_field()) return Say("to try: a smaller model, or bf16 (--precision)");
      Say("to try: shorter texts need less memory");
      return Again(absl::StrCat("--max-source-tokens ", std::max(1, data.max_source_tokens() / 2)));
    }
    if (evaluates()) {
      Say("to try: a smaller batch needs less memory and gives the same numbers");
      return Again(absl::StrCat("--batch-size ", half));
    }
    const int64_t accumulation = fine_tune().training().gradient_accumulation_steps();
    Say("to try: a smaller batch with more accumulation needs less memory and makes the same");
    Say("updates");
    Again(absl::StrCat("--batch-size ", half, " --gradient-accumulation-steps ",
                       std::max<int64_t>(1, accumulation) * batch / half));
  }

  void LearnSlower() {
    const v1::Method& method = fine_tune().method();
    double rate = 0;
    int parts = 0;
    for (const Method* part : MethodsOf(method)) {
      if (LearningRateOf(*part, method) <= 0) continue;
      rate = LearningRateOf(*part, method);
      ++parts;
    }
    // --learning-rate would give all parts the same one.
    if (parts > 1) return Say("to try: lower learning rates of the method's parts");
    Say(absl::StrCat("to try: a lower learning rate (now ", rate, ")"));
    Again(absl::StrCat("--learning-rate ", rate / 10));
  }

  void LookAtMachine() {
    Say("what engine and worker wrote, and the attempts with their ends:");
    Command(absl::StrCat("logs ", job_.name()));
    Command(absl::StrCat("show ", job_.name()));
    if (!job_.attempts().empty()) {
      Say(absl::StrCat("the log of worker ", job_.attempts().rbegin()->worker(),
                       " on its machine has the rest; when that is mended",
                       evaluates() ? ":" : ", from its last checkpoint if it has one:"));
    }
    Command(absl::StrCat("retry ", job_.name(), " --watch"));
  }

  const v1::Job& job_;
  const std::string& graft_;
  std::vector<std::string> lines_;
};

}  // namespace

std::string NextSteps(const v1::Job& job, const std::string& graft) {
  return Steps(job, graft).Text();
}

}  // namespace graft
