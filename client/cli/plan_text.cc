#include "client/cli/plan_text.h"

#include <algorithm>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "client/cli/output.h"
#include "client/cli/terminal.h"
#include "common/base/byte_text.h"
#include "common/jobs/method.h"

namespace graft {
namespace {

constexpr size_t kPlanColumns = 80;
constexpr size_t kKeyColumns = 15;

// "key            value", on as many lines as it takes.
void AddField(const std::string& key, const std::string& value, std::string& text) {
  if (value.empty()) return;
  std::string line = key + std::string(kKeyColumns - std::min(kKeyColumns, key.size()), ' ');
  bool first = true;
  for (const absl::string_view word : absl::StrSplit(value, ' ')) {
    const std::string next = std::string(word);
    if (!first && DisplayWidth(line) + 1 + DisplayWidth(next) > kPlanColumns) {
      absl::StrAppend(&text, line, "\n");
      line = std::string(kKeyColumns, ' ');
      first = true;
    }
    absl::StrAppend(&line, first ? "" : " ", next);
    first = false;
  }
  absl::StrAppend(&text, line, "\n");
}

// "0.6 %", and never 0 or 100 % for what is neither.
std::string Share(int64_t part, int64_t all) {
  if (all == 0) return "0 %";
  const double percent = 100.0 * static_cast<double>(part) / static_cast<double>(all);
  if (part > 0 && percent < 0.1) return "under 0.1 %";
  if (part < all && percent > 99.9) return "over 99.9 %";
  const bool small = percent < 10 && part > 0;
  return small ? absl::StrFormat("%.1f %%", percent) : absl::StrFormat("%.0f %%", percent);
}

std::string Count(int64_t count, const std::string& one) {
  return absl::StrCat(FormatCount(count), " ", one, count == 1 ? "" : "s");
}

std::string Trained(const v1::JobPlan& plan) {
  if (plan.resolved_spec().has_evaluate()) {
    const int adapters = plan.resolved_spec().evaluate().adapters_size();
    return absl::StrCat("nothing: it evaluates a model of ", FormatCount(plan.total_parameters()),
                        " parameters",
                        adapters > 0 ? absl::StrCat(" with each of ", adapters, " adapters") : "");
  }
  return absl::StrCat(FormatCount(plan.trainable_parameters()), " of ",
                      FormatCount(plan.total_parameters()), " parameters (",
                      MethodName(plan.resolved_spec()), ")");
}

std::string Steps(const v1::JobPlan& plan) {
  if (plan.resolved_spec().has_evaluate()) return "";
  if (plan.total_steps() == 0) return "not known: of the text only a part was read";
  std::vector<std::string> parts = {FormatCount(plan.total_steps())};
  if (plan.epochs() > 0) {
    parts.push_back(
        absl::StrFormat("in %.4g epoch%s", plan.epochs(), plan.epochs() == 1 ? "" : "s"));
  }
  std::string text = absl::StrJoin(parts, " ");
  if (plan.evaluations() > 0) absl::StrAppend(&text, ", ", Count(plan.evaluations(), "evaluation"));
  return text;
}

std::string Cuts(const v1::TokenCounts& counts, int64_t rows) {
  if (counts.limit() == 0) return "";
  const std::string limit = absl::StrCat("limit ", FormatCount(counts.limit()), ": ");
  if (counts.rows_cut() == 0) return limit + "none is cut";
  return absl::StrCat(limit, Count(counts.rows_cut(), "row"), " (", Share(counts.rows_cut(), rows),
                      ") ", counts.rows_cut() == 1 ? "loses " : "lose ",
                      Count(counts.tokens_cut(), "token"), " (",
                      Share(counts.tokens_cut(), counts.tokens()), ")");
}

void AddTokens(const std::string& key, const v1::TokenCounts& counts, int64_t rows,
               std::string& text) {
  if (counts.histogram().empty()) return;
  AddField(key,
           absl::StrCat("median ", FormatCount(counts.median()), ", mean ",
                        absl::StrFormat("%.1f", counts.mean()), ", 95 % up to ",
                        FormatCount(counts.p95()), ", longest ", Count(counts.max(), "token")),
           text);
  // The bars are one word to AddField, blanks and all.
  const auto& buckets = counts.histogram();
  absl::StrAppend(&text, std::string(kKeyColumns, ' '), HistogramBars(counts), "  up to ",
                  FormatCount(buckets.begin()->up_to()), " … ",
                  FormatCount(buckets.rbegin()->up_to()), " tokens\n");
  AddField("", Cuts(counts, rows), text);
}

// "1,044 tokens of line 17 (r17), 3 of line 4"
std::string MostCut(const v1::DataPlan& part) {
  std::string text;
  for (const v1::CutRow& row : part.most_cut()) {
    const int64_t tokens = row.source_tokens_cut() + row.target_tokens_cut();
    absl::StrAppend(&text, text.empty() ? "" : ", ",
                    text.empty() ? Count(tokens, "token") : FormatCount(tokens), " of line ",
                    row.line(), row.id().empty() ? "" : absl::StrCat(" (", row.id(), ")"));
  }
  return text;
}

void AddPart(const std::string& key, const v1::DataPlan& part, std::string& text) {
  std::string rows = absl::StrCat(Count(part.rows(), "row"), " of ", part.dataset());
  if (part.rows_read() < part.rows()) {
    absl::StrAppend(&rows, "; all that follows is of the first ", FormatCount(part.rows_read()));
  }
  AddField(key, rows, text);
  AddTokens(part.has_target() ? "  source" : "  text", part.source(), part.rows_read(), text);
  AddTokens("  target", part.target(), part.rows_read(), text);
  AddField("  cut most", MostCut(part), text);
}

std::string MeasuredOn(const v1::JobMeasurement& measured) {
  const v1::Execution& execution = measured.execution();
  std::string text = absl::StrCat("by ", measured.worker(), " on ", execution.device());
  for (const std::string& part : {execution.cpu_capability(), execution.precision()}) {
    if (!part.empty()) absl::StrAppend(&text, ", ", part);
  }
  if (execution.threads() > 0) absl::StrAppend(&text, ", ", Count(execution.threads(), "thread"));
  return text;
}

void AddMeasured(const v1::JobPlan& plan, std::string& text) {
  if (!plan.has_measured()) return AddField("not measured", plan.not_measured(), text);
  const v1::JobMeasurement& measured = plan.measured();
  AddField("measured", MeasuredOn(measured), text);
  std::string memory = absl::StrCat(FormatBytes(measured.peak_memory_bytes()), " at the most");
  if (measured.memory_budget_bytes() > 0) {
    absl::StrAppend(&memory, ", of ", FormatBytes(measured.memory_budget_bytes()));
  }
  if (measured.batch_size() > 0) {
    absl::StrAppend(&memory, "; micro-batches of ", Count(measured.batch_size(), "row"), ", ",
                    measured.gradient_accumulation_steps(), " a step");
  }
  AddField("  memory", memory, text);
  std::vector<std::string> parts = {
      absl::StrCat(FormatSeconds(measured.data_seconds()), " until the first step")};
  if (measured.train_seconds() > 0) {
    parts.push_back(absl::StrCat(FormatSeconds(measured.train_seconds()), " of steps (",
                                 absl::StrFormat("%.3g", measured.step_seconds()), " s each)"));
  }
  if (measured.evaluate_seconds() > 0) {
    parts.push_back(absl::StrCat(FormatSeconds(measured.evaluate_seconds()), " of evaluations"));
  }
  AddField("  time",
           absl::StrCat(FormatSeconds(measured.seconds()), ": ", absl::StrJoin(parts, ", ")), text);
}

std::string Start(const v1::JobPlan& plan) {
  if (!plan.has_expected_start_seconds()) return plan.waits();
  const double seconds = plan.expected_start_seconds();
  return absl::StrCat(seconds < 1 ? "at once" : absl::StrCat("in ", FormatSeconds(seconds)),
                      plan.waits().empty() ? "" : ": ", plan.waits());
}

std::string WarningText(const v1::PlanWarning& warning, const FieldName& name) {
  return warning.field().empty() ? warning.text()
                                 : absl::StrCat(name(warning.field()), ": ", warning.text());
}

// Of both parts together.
std::string CutShares(const v1::DataPlan& part) {
  const auto share = [&](const v1::TokenCounts& counts, const char* of) {
    return absl::StrCat(Share(counts.rows_cut(), part.rows_read()), " of the ", of);
  };
  if (part.source().limit() == 0) return "";
  return absl::StrCat("; cut: ", share(part.source(), "sources"), ", ",
                      share(part.target(), "targets"));
}

std::string PartLine(const v1::DataPlan& part) {
  std::string text = absl::StrCat(Count(part.rows(), "row"), " of ", part.dataset());
  if (part.rows_read() < part.rows()) {
    absl::StrAppend(&text, " (", FormatCount(part.rows_read()), " read)");
  }
  if (part.rows_read() == 0) return text;
  absl::StrAppend(&text, ", median ", FormatCount(part.source().median()));
  if (part.has_target()) absl::StrAppend(&text, " + ", FormatCount(part.target().median()));
  return absl::StrCat(text, " tokens", CutShares(part));
}

}  // namespace

std::string HistogramBars(const v1::TokenCounts& counts) {
  static const char* const kBars[] = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
  static const char* const kAsciiBars[] = {".", ":", "-", "=", "+", "*", "#", "%"};
  const auto* const bars = IsUtf8Locale() ? kBars : kAsciiBars;
  int64_t most = 1;
  for (const auto& bucket : counts.histogram()) most = std::max(most, bucket.rows());
  std::string text;
  for (const auto& bucket : counts.histogram()) {
    text += bucket.rows() == 0 ? " " : bars[(bucket.rows() * 8 - 1) / most];
  }
  return text;
}

std::string PlanText(const v1::JobPlan& plan, const FieldName& name) {
  std::string text;
  AddField("trains", Trained(plan), text);
  AddField("steps", Steps(plan), text);
  if (plan.has_train()) AddPart("training", plan.train(), text);
  if (plan.has_validation()) {
    AddPart(plan.has_train() ? "validation" : "evaluates", plan.validation(), text);
  }
  AddField("starts", Start(plan), text);
  AddMeasured(plan, text);
  for (const v1::PlanWarning& warning : plan.warnings()) {
    AddField("warning", WarningText(warning, name), text);
  }
  return text;
}

std::string PlanLines(const v1::JobPlan& plan, const FieldName& name) {
  std::vector<std::string> lines;
  const std::string steps = Steps(plan);
  lines.push_back(absl::StrCat("trains ", Trained(plan),
                               plan.total_steps() > 0 ? absl::StrCat("; steps: ", steps) : ""));
  lines.push_back(PartLine(plan.has_train() ? plan.train() : plan.validation()));
  for (const v1::PlanWarning& warning : plan.warnings()) {
    if (lines.size() == 2 + kMaxPlanLineWarnings) break;
    lines.push_back(absl::StrCat("warning: ", WarningText(warning, name)));
  }
  const int more = plan.warnings_size() - kMaxPlanLineWarnings;
  if (more > 0)
    lines.push_back(absl::StrCat("and ", Count(more, "more warning"), ": graft plan shows them"));
  std::string text;
  for (const std::string& line : lines) absl::StrAppend(&text, "graft: ", line, "\n");
  return text;
}

}  // namespace graft
