#include "common/jobs/job_filter.h"

#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/limits.h"
#include "common/base/status_macros.h"
#include "common/errors/status_details.h"
#include "common/jobs/job_state.h"

namespace graft {
namespace {

struct Term {
  std::string field;
  std::string comparison;  // "=", "<", "<=", ">", ">=".
  std::string value;
  // Two terms of one field exclude each other unless they bound it from two sides.
  char side() const { return comparison[0]; }
};

absl::Status FilterError(absl::string_view description) {
  return FieldViolation("filter", description);
}

bool IsWordCharacter(char c) {
  return absl::ascii_isalnum(c) || absl::StrContains("._+/-", absl::string_view(&c, 1));
}

class FilterParser {
 public:
  explicit FilterParser(absl::string_view text) : text_(text) {}

  absl::StatusOr<std::vector<Term>> Parse() {
    std::vector<Term> terms;
    SkipSpace();
    while (position_ < text_.size()) {
      if (terms.size() == kMaxFilterTerms) {
        return FilterError(absl::StrCat("has more than ", kMaxFilterTerms, " terms"));
      }
      if (!terms.empty() && Word() != "AND") return Expected("AND");
      SkipSpace();
      Term term;
      term.field = Word();
      if (term.field.empty()) return Expected("a field");
      SkipSpace();
      term.comparison = Comparison();
      if (term.comparison.empty()) return Expected("= (of a time <, <=, > or >=)");
      SkipSpace();
      ASSIGN_OR_RETURN(term.value, Value());
      for (const Term& other : terms) {
        if (other.field == term.field && other.side() == term.side()) {
          return FilterError(absl::StrCat("names ", term.field, " twice"));
        }
      }
      terms.push_back(std::move(term));
      SkipSpace();
    }
    return terms;
  }

 private:
  absl::Status Expected(absl::string_view what) const {
    return FilterError(absl::StrCat("expected ", what, " at byte ", position_ + 1,
                                    "; a filter is terms like state = \"RUNNING\" joined by AND"));
  }
  void SkipSpace() {
    while (position_ < text_.size() && absl::ascii_isspace(text_[position_])) ++position_;
  }
  bool Take(char c) {
    if (position_ == text_.size() || text_[position_] != c) return false;
    ++position_;
    return true;
  }
  std::string Comparison() {
    std::string comparison;
    for (const char c : {'<', '>'}) {
      if (comparison.empty() && Take(c)) comparison += c;
    }
    if (Take('=')) comparison += '=';
    return comparison;
  }
  std::string Word() {
    const size_t begin = position_;
    while (position_ < text_.size() && IsWordCharacter(text_[position_])) ++position_;
    return std::string(text_.substr(begin, position_ - begin));
  }
  absl::StatusOr<std::string> Value() {
    if (!Take('"')) {
      std::string word = Word();
      if (word.empty()) return Expected("a value");
      return word;
    }
    std::string value;
    while (!Take('"')) {
      Take('\\');
      if (position_ == text_.size()) return Expected("a closing quote");
      value += text_[position_++];
    }
    return value;
  }

  absl::string_view text_;
  size_t position_ = 0;
};

absl::StatusOr<std::vector<Term>> ParseTerms(absl::string_view filter) {
  if (filter.size() > kMaxFilterBytes) {
    return FilterError(absl::StrCat("is longer than ", kMaxFilterBytes, " bytes"));
  }
  return FilterParser(filter).Parse();
}

absl::Status CheckIsEqual(const Term& term) {
  if (term.comparison == "=") return absl::OkStatus();
  return FilterError(absl::StrCat(term.field, " is compared by =, not by ", term.comparison));
}

absl::Status Narrow(const Term& term, std::optional<TimeRange>& range) {
  if (term.comparison == "=") {
    return FilterError(absl::StrCat(term.field, " is compared by <, <=, > or >=, not by ="));
  }
  absl::Time time;
  std::string error;
  const bool parsed = absl::ParseTime(absl::RFC3339_full, term.value, &time, &error) &&
                      time > absl::InfinitePast() && time < absl::InfiniteFuture();
  if (!parsed) {
    return FilterError(absl::StrCat(term.field,
                                    " is compared with a time like \"2026-11-01T00:00:00Z\", not ",
                                    "with \"", term.value, "\""));
  }
  if (!range) range.emplace();
  // A range takes its beginning and leaves its end out; stored times are whole nanoseconds.
  if (term.comparison == "<=" || term.comparison == ">") time += absl::Nanoseconds(1);
  (term.side() == '<' ? range->before : range->from) = time;
  return absl::OkStatus();
}

absl::Status ApplyTerm(const Term& term, JobFilter& filter) {
  const std::string& field = term.field;
  const std::string& value = term.value;
  if (field == "create_time") return Narrow(term, filter.create_time);
  if (field == "end_time") return Narrow(term, filter.end_time);
  if (field == "state") {
    filter.state = StateFromName(value);
    if (*filter.state == v1::JOB_STATE_UNSPECIFIED) {
      return FilterError(absl::StrCat("no such state: ", value,
                                      "; there are QUEUED, RUNNING, PAUSING, PAUSED, CANCELLING, "
                                      "SUCCEEDED, FAILED, CANCELLED"));
    }
  } else if (field == "done") {
    if (value != "true" && value != "false") return FilterError("done is true or false");
    filter.done = value == "true";
  } else if (field == "study") {
    filter.study = value;
  } else if (field == "method") {
    filter.method = value;
  } else if (field == "base_model") {
    filter.base_model = value;
  } else if (field == "display_name") {
    filter.display_name = value;
  } else if (absl::StartsWith(field, "labels.") && field.size() > 7) {
    filter.labels[field.substr(7)] = value;
  } else {
    return FilterError(absl::StrCat(
        "unknown field ", field,
        "; there are state, done, study, method, base_model, display_name, create_time, end_time, "
        "labels.KEY"));
  }
  return CheckIsEqual(term);
}

}  // namespace

absl::StatusOr<JobFilter> ParseJobFilter(absl::string_view filter) {
  ASSIGN_OR_RETURN(const std::vector<Term> terms, ParseTerms(filter));
  JobFilter result;
  for (const Term& term : terms) RETURN_IF_ERROR(ApplyTerm(term, result));
  return result;
}

absl::StatusOr<AdapterFilter> ParseAdapterFilter(absl::string_view filter) {
  ASSIGN_OR_RETURN(const std::vector<Term> terms, ParseTerms(filter));
  AdapterFilter result;
  for (const Term& term : terms) {
    if (term.field == "base_model") {
      result.base_model = term.value;
    } else if (term.field == "job") {
      result.job = term.value;
    } else {
      return FilterError(absl::StrCat("unknown field ", term.field, "; there are base_model, job"));
    }
    RETURN_IF_ERROR(CheckIsEqual(term));
  }
  return result;
}

absl::StatusOr<JobOrder> ParseJobOrder(absl::string_view order_by) {
  const absl::string_view order = absl::StripAsciiWhitespace(order_by);
  if (order.empty() || order == "create_time desc") return JobOrder::kNewestFirst;
  if (order == "create_time" || order == "create_time asc") return JobOrder::kOldestFirst;
  if (order == "priority desc") return JobOrder::kPriority;
  return FieldViolation("order_by", absl::StrCat("unknown order: ", order,
                                                 "; there are \"create_time desc\", "
                                                 "\"create_time\", \"priority desc\""));
}

}  // namespace graft
