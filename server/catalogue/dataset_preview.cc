#include "server/catalogue/dataset_preview.h"

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/base/status_macros.h"
#include "common/base/utf8.h"
#include "common/errors/status_details.h"
#include "common/jobs/names.h"
#include "common/text/data_problems.h"
#include "common/text/data_reader.h"
#include "common/text/example_builder.h"
#include "server/catalogue/dataset_format.h"
#include "server/catalogue/lookup.h"

namespace graft {
namespace {

// A job on this data, of whose resolved spec only the data is used: so defaults and checks are
// those of CreateJob.
absl::StatusOr<v1::DataSpec> ResolveData(const v1::PreviewDatasetRequest& request,
                                         const v1::Dataset& dataset, const v1::Model& model) {
  v1::JobSpec spec;
  v1::FineTuneSpec* job = spec.mutable_fine_tune();
  job->set_base_model(request.base_model());
  *job->mutable_data() = request.data();
  job->mutable_data()->set_train(request.name());
  job->mutable_data()->set_validation(request.name());
  // The part that takes nothing of the model's positions.
  job->mutable_method()->mutable_last_layers()->set_num_layers(0);
  SpecFacts facts;
  facts.base_model = &model;
  facts.train = &dataset;
  facts.validation = &dataset;
  absl::Status status = ValidateSpec(spec, "spec");
  absl::StatusOr<v1::JobSpec> resolved = spec;
  if (status.ok()) {
    resolved = ResolveSpec(spec, facts, SpecDefaults(), "spec");
    status = resolved.status();
  }
  if (status.ok()) return resolved->fine_tune().data();
  // Paths as they are in this request.
  Violations violations;
  for (const auto& violation : FieldViolationsOf(status)) {
    violations.Add(absl::StripPrefix(violation.field(), "spec.fine_tune."),
                   violation.description());
  }
  return violations.empty() ? status : violations.ToStatus();
}

void FillExample(const BpeTokenizer& tokenizer, const DataRow& row, const TokenExample& built,
                 v1::PreviewDatasetResponse::Example* example) {
  example->set_line(row.line);
  for (const int32_t id : built.ids) example->add_ids(id);
  example->set_num_prompt_tokens(static_cast<int32_t>(built.num_prompt_tokens));
  const absl::Span<const int32_t> ids(built.ids);
  example->set_prompt(ToValidUtf8(tokenizer.Decode(ids.subspan(0, built.num_prompt_tokens))));
  example->set_target(ToValidUtf8(tokenizer.Decode(ids.subspan(built.num_prompt_tokens))));
  example->set_source_tokens_cut(static_cast<int32_t>(built.source_tokens_cut));
  example->set_target_tokens_cut(static_cast<int32_t>(built.target_tokens_cut));
}

// Plain text: every token is a label, and the row ends with the end of text. Rows are joined and
// cut into blocks for training; here each is shown by itself, no longer than one block.
absl::Status BuildPlain(const BpeTokenizer& tokenizer, const std::string& text, int64_t block,
                        TokenExample* example) {
  example->ids.clear();
  RETURN_IF_ERROR(tokenizer.EncodeTo(text, {}, &example->ids));
  example->ids.push_back(tokenizer.end_of_text_id());
  example->num_prompt_tokens = 0;
  example->source_tokens_cut = 0;
  example->target_tokens_cut =
      std::max<int64_t>(0, static_cast<int64_t>(example->ids.size()) - block);
  example->ids.resize(example->ids.size() - example->target_tokens_cut);
  return absl::OkStatus();
}

// The first bad row, and those behind it: who mends one wants to know of all.
absl::Status AllProblems(const absl::Status& first, DataReader& reader, const Gone& gone) {
  DataProblems problems;
  problems.Add(first.message());
  if (reader.can_go_on()) {
    ASSIGN_OR_RETURN(const DataProblems others, FindProblems(reader, 0, gone));
    problems.AddAll(others);
  }
  Violations violations;
  for (const std::string& line : problems.Lines()) violations.Add("name", line);
  return violations.ToStatus();
}

absl::Status BuildRows(const BpeTokenizer& tokenizer, DataReader& reader, int num_rows,
                       const Gone& gone,
                       const std::function<absl::Status(const DataRow&, TokenExample*)>& build,
                       v1::PreviewDatasetResponse* response) {
  DataRow row;
  TokenExample example;
  for (int i = 0; i < num_rows; ++i) {
    RETURN_IF_ERROR(CheckWanted(gone));
    const absl::StatusOr<bool> more = reader.Next(&row);
    if (absl::IsInvalidArgument(more.status())) {
      return AllProblems(more.status(), reader, gone);
    }
    RETURN_IF_ERROR(more.status());
    if (!*more) break;
    RETURN_IF_ERROR(Annotate(build(row, &example), absl::StrCat("line ", row.line)));
    FillExample(tokenizer, row, example, response->add_examples());
  }
  return absl::OkStatus();
}

absl::Status BuildPaired(const BpeTokenizer& tokenizer, const v1::DataSpec& data, int64_t positions,
                         DataReader& reader, int num_rows, const Gone& gone,
                         v1::PreviewDatasetResponse* response) {
  ExampleOptions options;
  options.prompt_template = data.prompt_template();
  options.max_source_tokens = data.max_source_tokens();
  options.max_target_tokens = data.max_target_tokens();
  options.max_total_tokens = positions;
  ASSIGN_OR_RETURN(const ExampleBuilder builder, ExampleBuilder::Create(tokenizer, options));
  const auto build = [&](const DataRow& row, TokenExample* example) {
    return builder.Build(row.source, row.targets[0], example);
  };
  return BuildRows(tokenizer, reader, num_rows, gone, build, response);
}

absl::Status BuildPlainRows(const BpeTokenizer& tokenizer, int64_t positions, DataReader& reader,
                            int num_rows, const Gone& gone, v1::PreviewDatasetResponse* response) {
  const auto build = [&](const DataRow& row, TokenExample* example) {
    return BuildPlain(tokenizer, row.source, positions, example);
  };
  return BuildRows(tokenizer, reader, num_rows, gone, build, response);
}

absl::Status CheckRequest(const v1::PreviewDatasetRequest& request) {
  RETURN_IF_ERROR(ValidateName(request.name(), "name"));
  RETURN_IF_ERROR(ValidateName(request.base_model(), "base_model"));
  if (request.num_rows() < 0 || request.num_rows() > kMaxPreviewRows) {
    return FieldViolation(
        "num_rows", absl::StrCat("must be 0 (", kDefaultPreviewRows, ") to ", kMaxPreviewRows));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status BuildPreview(const Catalogue& catalogue, const v1::PreviewDatasetRequest& request,
                          const Gone& gone, v1::PreviewDatasetResponse* response) {
  RETURN_IF_ERROR(CheckRequest(request));
  ASSIGN_OR_RETURN(const v1::Dataset dataset,
                   FindDataset(catalogue.store, {request.name(), "name"}));
  ASSIGN_OR_RETURN(const v1::Model model,
                   FindModel(catalogue.store, {request.base_model(), "base_model"}));
  ASSIGN_OR_RETURN(const v1::DataSpec data, ResolveData(request, dataset, model));
  ASSIGN_OR_RETURN(const auto tokenizer, catalogue.tokenizers.Get(model));
  ASSIGN_OR_RETURN(const std::string path, catalogue.blobs.PathOf(dataset.sha256()));
  const bool plain = data.has_text_field();
  DataFields fields;
  if (plain) {
    fields.text_field = data.text_field();
  } else {
    fields.source_field = data.source_field();
    fields.target_field = data.target_field();
  }
  ASSIGN_OR_RETURN(DataReader reader,
                   DataReader::Open(path, fields, ToDataFormat(dataset.format())));
  const int num_rows = request.num_rows() == 0 ? kDefaultPreviewRows : request.num_rows();
  const absl::Status built =
      plain ? BuildPlainRows(*tokenizer, model.n_positions(), reader, num_rows, gone, response)
            : BuildPaired(*tokenizer, data, model.n_positions(), reader, num_rows, gone, response);
  return Annotate(built, absl::StrCat("data set \"", request.name(), "\""));
}

}  // namespace graft
