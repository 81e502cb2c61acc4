#include "server/analysis/row_losses.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/json.h"
#include "common/base/status_macros.h"
#include "common/base/utf8.h"
#include "common/errors/status_details.h"
#include "common/formats/evaluation_files.h"
#include "common/formats/row_loss_file.h"
#include "common/jobs/job_state.h"
#include "common/jobs/names.h"
#include "nlohmann/json.hpp"
#include "server/analysis/blob_lines.h"
#include "server/store/page_token.h"

namespace graft {
namespace {

absl::Status WrongState(const std::string& message) {
  return WithReason(absl::FailedPreconditionError(message), kReasonWrongState);
}

// Why there is no file.
absl::Status NoRows(const v1::Job& job, bool train) {
  const v1::JobState state = job.state();
  if (train && !job.resolved_spec().fine_tune().evaluation().train_row_losses()) {
    return WrongState(
        absl::StrCat(job.name(), job.resolved_spec().has_evaluate()
                                     ? " is an evaluation, which has no training rows"
                                     : " was not asked for the losses of its training rows "
                                       "(evaluation.train_row_losses)"));
  }
  if (!job.done()) {
    return WrongState(absl::StrCat(job.name(), " is ", StateName(state),
                                   ": the losses of its rows are there when it has succeeded"));
  }
  if (state != v1::JOB_STATE_SUCCEEDED) {
    return WrongState(
        absl::StrCat(job.name(), " is ", StateName(state), ": it left no losses of rows"));
  }
  const bool validates = train || job.resolved_spec().has_evaluate() ||
                         job.resolved_spec().fine_tune().data().validation_source_case() !=
                             v1::DataSpec::VALIDATION_SOURCE_NOT_SET;
  return WrongState(absl::StrCat(job.name(), validates
                                                 ? " was run by an earlier graft, which kept no "
                                                   "losses of rows"
                                                 : " had no validation set"));
}

std::string TextOf(const nlohmann::json& row, const char* name) {
  const auto found = row.find(name);
  return found == row.end() || !found->is_string()
             ? ""
             : Shortened(found->get_ref<const std::string&>(), kMaxRowLossTextBytes);
}

// null: it is not finite.
std::optional<double> LossOf(const nlohmann::json& row, const char* name) {
  const auto found = row.find(name);
  if (found == row.end()) return std::nullopt;
  if (found->is_null()) return std::nan("");
  return found->is_number() ? std::optional(found->get<double>()) : std::nullopt;
}

std::optional<v1::RowLoss> ParseRow(absl::string_view line) {
  const absl::StatusOr<nlohmann::json> row = ParseJson(line);
  if (!row.ok() || !row->is_object()) return std::nullopt;
  const auto number = [&](const char* name) -> const nlohmann::json* {
    const auto found = row->find(name);
    return found == row->end() || !found->is_number_integer() ? nullptr : &*found;
  };
  const nlohmann::json* const index = number("row");
  const std::optional<double> loss = LossOf(*row, "loss");
  if (index == nullptr || !loss) return std::nullopt;
  v1::RowLoss parsed;
  parsed.set_row(index->get<int64_t>());
  parsed.set_loss(*loss);
  if (const auto* at = number("line"); at != nullptr) parsed.set_line(at->get<int64_t>());
  if (const auto* at = number("tokens"); at != nullptr) parsed.set_tokens(at->get<int64_t>());
  if (const auto untuned = LossOf(*row, "untuned_loss"); untuned) {
    parsed.set_untuned_loss(*untuned);
  }
  parsed.set_id(TextOf(*row, "id"));
  parsed.set_source(TextOf(*row, "source"));
  parsed.set_target(TextOf(*row, "target"));
  return parsed;
}

absl::StatusOr<std::vector<v1::RowLoss>> ReadRowLosses(const BlobReader& file, const char* name,
                                                       const Gone& gone) {
  std::vector<v1::RowLoss> rows;
  RETURN_IF_ERROR(
      ForEachLine(file, gone, [&](int64_t number, absl::string_view line) -> absl::Status {
        std::optional<v1::RowLoss> row = ParseRow(line);
        if (!row || std::ssize(rows) == kMaxRowLosses) {
          return absl::DataLossError(
              absl::StrCat(name, ": line ", number, row ? " is one too many" : " is broken"));
        }
        rows.push_back(*std::move(row));
        return absl::OkStatus();
      }));
  return rows;
}

// What a row is ordered by, the greatest first. What is no number stands before all, what the
// untuned model has no loss of behind all.
double Badness(const v1::RowLoss& row, v1::RowOrder order) {
  if (order == v1::ROW_ORDER_LOST && !row.has_untuned_loss()) return -HUGE_VAL;
  const double badness = order == v1::ROW_ORDER_LOST ? row.loss() - row.untuned_loss() : row.loss();
  return std::isnan(badness) ? HUGE_VAL : badness;
}

absl::Status Order(const v1::Job& job, v1::RowOrder order, std::vector<v1::RowLoss>& rows) {
  if (order != v1::ROW_ORDER_WORST && order != v1::ROW_ORDER_LOST) return absl::OkStatus();
  const bool has_untuned = std::any_of(
      rows.begin(), rows.end(), [](const v1::RowLoss& row) { return row.has_untuned_loss(); });
  if (order == v1::ROW_ORDER_LOST && !has_untuned) {
    return WrongState(absl::StrCat(
        job.name(),
        " has no losses of the untuned model: an evaluation of an adapter has them that "
        "was given untuned_baseline"));
  }
  std::sort(rows.begin(), rows.end(), [&](const v1::RowLoss& a, const v1::RowLoss& b) {
    return std::tuple(-Badness(a, order), a.row()) < std::tuple(-Badness(b, order), b.row());
  });
  return absl::OkStatus();
}

absl::Status AddPredictions(const BlobReader& file, const Gone& gone,
                            google::protobuf::RepeatedPtrField<v1::RowLoss>& rows) {
  std::map<int64_t, v1::RowLoss*> wanted;
  for (v1::RowLoss& row : rows) wanted[row.row()] = &row;
  return ForEachLine(file, gone, [&](int64_t, absl::string_view line) {
    if (wanted.empty()) return absl::OkStatus();
    const absl::StatusOr<nlohmann::json> text = ParseJson(line);
    if (!text.ok() || !text->is_object()) return absl::OkStatus();
    const auto index = text->find("index");
    if (index == text->end() || !index->is_number_integer()) return absl::OkStatus();
    const auto found = wanted.find(index->get<int64_t>());
    if (found == wanted.end()) return absl::OkStatus();
    found->second->set_prediction(TextOf(*text, "prediction"));
    wanted.erase(found);
    return absl::OkStatus();
  });
}

absl::Status CheckAdapter(const v1::Job& job, const std::string& adapter) {
  const auto& adapters = job.resolved_spec().evaluate().adapters();
  if (adapters.empty() && adapter.empty()) return absl::OkStatus();
  if (std::find(adapters.begin(), adapters.end(), adapter) != adapters.end()) {
    return absl::OkStatus();
  }
  if (adapters.empty()) {
    return FieldViolation("adapter", absl::StrCat("is for evaluations of several adapters; ",
                                                  job.name(), " is none"));
  }
  return FieldViolation(
      "adapter", absl::StrCat(adapter.empty() ? "is required" : "is none of them", ": ", job.name(),
                              " evaluated ", absl::StrJoin(adapters, ", ")));
}

absl::StatusOr<size_t> ReadBegin(const std::string& query, const std::string& token) {
  if (token.empty()) return size_t{0};
  ASSIGN_OR_RETURN(const auto parts, ReadPageToken(query, token, 1));
  uint64_t begin = 0;
  if (!absl::SimpleAtoi(parts[0], &begin)) return FieldViolation("page_token", "is broken");
  return static_cast<size_t>(begin);
}

}  // namespace

absl::StatusOr<v1::ReadRowsResponse> ReadJobRows(JobStore& store, const BlobStore& blobs,
                                                 const v1::ReadRowsRequest& request,
                                                 const Gone& gone) {
  ASSIGN_OR_RETURN(const std::string id, ParseJobId(request.name()));
  ASSIGN_OR_RETURN(const int page_size, EffectivePageSize(request.page_size()));
  if (!v1::RowOrder_IsValid(request.order())) return FieldViolation("order", "is not known");
  ASSIGN_OR_RETURN(const v1::Job job, store.GetJob(JobName(id)));
  RETURN_IF_ERROR(CheckAdapter(job, request.adapter()));
  const std::string query = absl::StrCat("rows ", job.name(), " ", request.order(), " ",
                                         request.train(), " ", request.adapter());
  ASSIGN_OR_RETURN(const size_t begin, ReadBegin(query, request.page_token()));
  ASSIGN_OR_RETURN(const std::vector<v1::Artifact> artifacts, store.ListArtifacts(job.name()));
  const auto open = [&](const char* name) -> absl::StatusOr<std::unique_ptr<BlobReader>> {
    const std::string path = EvaluationFile(request.adapter(), name);
    for (const v1::Artifact& artifact : artifacts) {
      if (artifact.path() == path) return blobs.Open(artifact.sha256());
    }
    return std::unique_ptr<BlobReader>();
  };
  const char* const name = request.train() ? kTrainRowLossFile : kRowLossFile;
  ASSIGN_OR_RETURN(const std::unique_ptr<BlobReader> file, open(name));
  if (file == nullptr) return NoRows(job, request.train());
  ASSIGN_OR_RETURN(std::vector<v1::RowLoss> rows, ReadRowLosses(*file, name, gone));
  RETURN_IF_ERROR(Order(job, request.order(), rows));
  v1::ReadRowsResponse response;
  response.set_step(job.result().best_step());
  response.set_total(std::ssize(rows));
  response.set_complete(std::ssize(rows) < kMaxRowLosses);
  PageBounds bounds(page_size);
  for (size_t i = begin; i < rows.size(); ++i) {
    // A prediction comes to it.
    if (!bounds.Add(rows[i].ByteSizeLong() + kMaxRowLossTextBytes)) {
      response.set_next_page_token(MakePageToken(query, {absl::StrCat(i)}));
      break;
    }
    *response.add_rows() = std::move(rows[i]);
  }
  if (request.train()) return response;
  ASSIGN_OR_RETURN(const std::unique_ptr<BlobReader> predictions, open(kPredictionsFile));
  if (predictions != nullptr) {
    RETURN_IF_ERROR(AddPredictions(*predictions, gone, *response.mutable_rows()));
  }
  return response;
}

}  // namespace graft
