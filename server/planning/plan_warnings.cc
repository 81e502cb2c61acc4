#include "server/planning/plan_warnings.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "common/methods/method_spec.h"
#include "server/planning/detectable_difference.h"

namespace graft {
namespace {

std::string Rows(int64_t count) { return count == 1 ? "1 row" : absl::StrCat(count, " rows"); }

// Of what was read of a part: "2 of the first 100 rows of "news"".
std::string Of(const v1::DataPlan& part, int64_t count) {
  return absl::StrCat(count, " of ", part.rows_read() < part.rows() ? "the first " : "",
                      Rows(part.rows_read()), " of \"", part.dataset(), "\"");
}

std::string Places(const std::vector<RowMatch>& matches, int64_t count) {
  std::string text = absl::StrJoin(matches, ", ", [](std::string* out, const RowMatch& match) {
    absl::StrAppend(out, match.validation_line, " = ", match.training_line);
  });
  if (count > static_cast<int64_t>(matches.size())) text += ", …";
  return absl::StrCat("lines (validation = training) ", text);
}

class Warnings {
 public:
  Warnings(const v1::JobPlan& plan, const DataFigures& data)
      : spec_(plan.resolved_spec()),
        plan_(plan),
        data_(data),
        task_(spec_.has_evaluate() ? "evaluate." : "fine_tune.") {}

  void AboutOverlap() {
    const Overlap& overlap = data_.overlap;
    const std::string rows = Rows(data_.validation.plan.rows_read());
    if (overlap.same_sources > 0) {
      Add("VALIDATION_IN_TRAINING", ValidationField(),
          absl::StrCat(
              overlap.same_sources, " of ", rows,
              " of the validation have a text that is trained on, too, ", overlap.same_pairs,
              " of them with the same target: ", Places(overlap.same, overlap.same_sources),
              "; what is learned by heart passes for what is understood: take them out of "
              "one side"));
    }
    if (overlap.near_sources > 0) {
      Add("VALIDATION_NEARLY_IN_TRAINING", ValidationField(),
          absl::StrCat(overlap.near_sources, " of ", rows,
                       " of the validation have nearly a text that is trained on: ",
                       Places(overlap.near, overlap.near_sources),
                       "; look whether these are versions of one text"));
    }
  }

  void AboutPart(const PartFigures& part, const char* field) {
    const v1::DataPlan& plan = part.plan;
    const auto empty = [&](const RowsThat& rows, const char* code, const char* what) {
      if (rows.rows == 0) return;
      Add(code, field,
          absl::StrCat(Of(plan, rows.rows), rows.rows == 1 ? " has" : " have", " an empty ", what,
                       ", the first at line ", rows.first_line, ": leave them out"));
    };
    empty(part.empty_targets, "TARGETS_EMPTY", "target");
    empty(part.empty_sources, "SOURCES_EMPTY", "source");
    const v1::TokenCounts& target = plan.target();
    if (static_cast<double>(target.rows_cut()) <
            kManyCuts * static_cast<double>(plan.rows_read()) ||
        target.rows_cut() == 0) {
      return;
    }
    Add("TARGETS_CUT", "data.max_target_tokens",
        absl::StrCat("the targets of ", Of(plan, target.rows_cut()), " are cut to ", target.limit(),
                     " tokens, so that their end is not learned; 95 % have at most ", target.p95(),
                     ": raise max_target_tokens or leave them out"));
  }

  void AboutSteps(int64_t warmup_steps) {
    if (plan_.total_steps() == 0 || warmup_steps < plan_.total_steps()) return;
    const bool ratio = spec_.fine_tune().training().warmup_steps() == 0;
    Add("WARMUP_TOO_LONG", ratio ? "training.warmup_ratio" : "training.warmup_steps",
        absl::StrCat("the warm-up takes ", warmup_steps, " steps and the run has ",
                     plan_.total_steps(),
                     ", so the learning rate never reaches its peak: shorten it, or train longer"));
  }

  void AboutRates() {
    const v1::Method& method = spec_.fine_tune().method();
    for (const Method* part : MethodsOf(method)) {
      const double rate = LearningRateOf(*part, method);
      const double usual = part->default_learning_rate();
      if (rate <= usual * kUsualRates && rate >= usual / kUsualRates) continue;
      const v1::TrainingSpec& training = spec_.fine_tune().training();
      const bool of_all = training.has_learning_rate() && training.learning_rate() == rate;
      Add("LEARNING_RATE_UNUSUAL",
          of_all ? "training.learning_rate"
                 : absl::StrCat("method.", part->field(), ".learning_rate"),
          absl::StrCat("a learning rate of ", rate, " is ", rate > usual ? "high" : "low", " for ",
                       part->name(), ", which begins with ", usual, "; usual are ",
                       absl::StrFormat("%.1g to %.1g", usual / kUsualRates, usual * kUsualRates)));
    }
  }

  // Who goes by ROUGE goes by the rows that texts are made for; else the set as a whole is what a
  // later evaluation has.
  void AboutSize(double wished) {
    const int64_t all = data_.validation.plan.rows();
    if (all == 0 || !HasTargets()) return;
    const int64_t samples = Evaluation().max_samples();
    const std::string& metric = spec_.fine_tune().training().early_stopping().metric();
    const bool goes_by_rouge = spec_.has_evaluate() || absl::StartsWith(metric, "eval/rouge");
    const bool few = goes_by_rouge && samples >= 0 && samples < all;
    if (goes_by_rouge && samples == 0) return;
    const int64_t rows = few ? samples : all;
    if (wished == 0) wished = kDefaultDetectableDifference;
    const int64_t needed = RowsToDetect(wished);
    if (rows >= needed) return;
    Add("VALIDATION_TOO_SMALL", few ? "evaluation.max_samples" : ValidationField(),
        absl::StrFormat("%s of the validation%s can show a difference of %.3f ROUGE-Lsum; for %.3f "
                        "it takes %d",
                        Rows(rows), few ? " that texts are made for" : "",
                        DetectableDifference(rows), wished, needed));
  }

  void AboutScript() {
    const PartFigures& part = data_.validation;
    if (Evaluation().max_samples() == 0 || part.letters == 0) return;
    const double share =
        static_cast<double>(part.rouge_letters) / static_cast<double>(part.letters);
    if (share >= kEnoughLetters) return;
    Add("ROUGE_CANNOT_COUNT", "evaluation.max_samples",
        absl::StrFormat("ROUGE's tokens are of a-z and 0-9, which %.0f %% of the targets' letters "
                        "are: its scores say little here; go by the loss",
                        100 * share));
  }

  std::vector<v1::PlanWarning> Take() { return std::move(warnings_); }

 private:
  bool HasTargets() const { return data_.validation.plan.has_target(); }
  const v1::EvaluationSpec& Evaluation() const {
    return spec_.has_evaluate() ? spec_.evaluate().evaluation() : spec_.fine_tune().evaluation();
  }
  const char* ValidationField() const {
    return spec_.fine_tune().data().has_validation_fraction() ? "data.validation_fraction"
                                                              : "data.validation";
  }
  void Add(const char* code, absl::string_view field, const std::string& text) {
    v1::PlanWarning& warning = warnings_.emplace_back();
    warning.set_code(code);
    warning.set_field(absl::StrCat(task_, field));
    warning.set_text(text);
  }

  const v1::JobSpec& spec_;
  const v1::JobPlan& plan_;
  const DataFigures& data_;
  const char* const task_;
  std::vector<v1::PlanWarning> warnings_;
};

}  // namespace

std::vector<v1::PlanWarning> PlanWarnings(const v1::JobPlan& plan, int64_t warmup_steps,
                                          const DataFigures& data, double wished_difference) {
  Warnings warnings(plan, data);
  warnings.AboutOverlap();
  warnings.AboutPart(data.train, "data.train");
  const bool held_out = plan.resolved_spec().fine_tune().data().has_validation_fraction();
  warnings.AboutPart(data.validation, held_out ? "data.train" : "data.validation");
  warnings.AboutSteps(warmup_steps);
  warnings.AboutRates();
  warnings.AboutScript();
  warnings.AboutSize(wished_difference);
  return warnings.Take();
}

}  // namespace graft
