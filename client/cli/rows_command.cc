// graft rows.

#include <algorithm>
#include <cstdio>
#include <iterator>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/cli/command.h"
#include "client/cli/listing.h"
#include "client/cli/output.h"
#include "common/base/limits.h"
#include "common/base/status_macros.h"

namespace graft {
namespace {

constexpr size_t kTextColumns = 60;

struct RowsOptions {
  std::string name;
  int worst = 0;
  int lost = 0;
  int limit = 20;
  std::string output;
  std::string adapter;
  bool train = false;
};

// Without the headings of columns that no row has anything in.
std::vector<ListColumn> RowColumns(const std::vector<v1::RowLoss>& rows) {
  const auto heading = [&rows](const char* text, auto has) {
    return std::any_of(rows.begin(), rows.end(), has) ? text : "";
  };
  return {
      {"ROW>", "row"},
      {"LINE>", "line"},
      {heading("ID~?", [](const v1::RowLoss& row) { return !row.id().empty(); }), "id"},
      {"TOKENS>?", "tokens"},
      {"LOSS>", "loss"},
      {heading("UNTUNED>", [](const v1::RowLoss& row) { return row.has_untuned_loss(); }),
       "untuned_loss"},
      {"SOURCE~", "source"},
      {"TARGET~?", "target"},
      {heading("PREDICTION~?", [](const v1::RowLoss& row) { return !row.prediction().empty(); }),
       "prediction"}};
}

std::vector<Cell> RowCells(const v1::RowLoss& row) {
  return {{absl::StrCat(row.row())},
          TextCell(row.line() > 0 ? absl::StrCat(row.line()) : ""),
          CutCell(row.id(), 24),
          {absl::StrCat(row.tokens())},
          NumberCell(row.loss(), 4),
          row.has_untuned_loss() ? NumberCell(row.untuned_loss(), 4) : TextCell(""),
          CutCell(row.source(), kTextColumns),
          CutCell(row.target(), kTextColumns),
          CutCell(row.prediction(), kTextColumns)};
}

void TellOfWhat(long shown, const RowsOptions& options, const v1::ReadRowsResponse& response) {
  const std::string step = response.step() > 0
                               ? absl::StrCat(" at step ", response.step(),
                                              options.train ? ", which is published" : ", the best")
                               : "";
  std::fprintf(stderr, "graft: %ld of %s%ld %srows%s\n", shown,
               response.complete() ? "" : "the first ", static_cast<long>(response.total()),
               options.train ? "training " : "", step.c_str());
}

absl::Status RunRows(CliContext& context, const RowsOptions& options) {
  ASSIGN_OR_RETURN(const OutputFormat format, FormatOf(context, options.output));
  v1::ReadRowsRequest request;
  request.set_name(options.name);
  request.set_adapter(options.adapter);
  request.set_train(options.train);
  int wanted = options.limit;
  if (options.worst > 0) {
    request.set_order(v1::ROW_ORDER_WORST);
    wanted = options.worst;
  } else if (options.lost > 0) {
    request.set_order(v1::ROW_ORDER_LOST);
    wanted = options.lost;
  }
  std::vector<v1::RowLoss> rows;
  v1::ReadRowsResponse response;
  do {
    request.set_page_size(std::min(wanted - static_cast<int>(rows.size()), kMaxPageSize));
    ASSIGN_OR_RETURN(response, context.client->ReadRows(request));
    rows.insert(rows.end(), response.rows().begin(), response.rows().end());
    request.set_page_token(response.next_page_token());
  } while (!request.page_token().empty() && std::ssize(rows) < wanted);
  Listing list(format, RowColumns(rows));
  for (const v1::RowLoss& row : rows) list.Add(row, RowCells(row));
  list.End();
  if (format != OutputFormat::kJson) TellOfWhat(std::ssize(rows), options, response);
  return absl::OkStatus();
}

}  // namespace

void AddRowsCommand(CLI::App& app, RunCommand& run) {
  auto options = std::make_shared<RowsOptions>();
  CLI::App* command =
      AddCommand(app, run, "rows",
                 "Show the validation loss of each row, of a training at its best step: as they "
                 "stand in the data, the worst first, or first those that lost most by the adapter",
                 "graft rows jobs/k3f9 --worst 20", options, RunRows);
  command->add_option("job", options->name, "A fine-tune job with validation, or an evaluation")
      ->required();
  command->add_flag("--train", options->train,
                    "Of the training rows (of a job with --train-row-losses): what the published "
                    "adapter has not learnt");
  CLI::Option* const worst =
      command
          ->add_option(
              "--worst", options->worst,
              "So many of the greatest loss: where to look for labels that are wrong, for texts "
              "that were cut, and for what is too hard")
          ->check(CLI::Range(1, 1000000));
  CLI::Option* const lost =
      command
          ->add_option(
              "--lost", options->lost,
              "So many whose loss is greatest above the untuned model's: what the training "
              "made worse (of an evaluation with --untuned-baseline)")
          ->check(CLI::Range(1, 1000000))
          ->excludes(worst);
  command->add_option("--adapter", options->adapter,
                      "Of an evaluation of several adapters: whose rows");
  command->add_option("--limit", options->limit, "So many, as they stand in the data")
      ->check(CLI::Range(1, 1000000))
      ->excludes(worst)
      ->excludes(lost)
      ->capture_default_str();
  AddOutputFlag(*command, options->output);
}

}  // namespace graft
