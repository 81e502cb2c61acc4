// graft rouge.

#include <algorithm>
#include <cstdio>

#include "client/cli/command.h"
#include "client/cli/output.h"
#include "client/cli/rouge_files.h"
#include "common/base/status_macros.h"

namespace graft {
namespace {

struct RougeCommandOptions {
  RougeFileOptions files;
  bool no_stemmer = false;
};

bool Asks(const RougeFileOptions& options, const char* type) {
  return std::find(options.types.begin(), options.types.end(), type) != options.types.end();
}

absl::Status RunRouge(CliContext& context, const RougeCommandOptions& options) {
  RougeFileOptions files = options.files;
  files.use_stemmer = !options.no_stemmer;
  std::function<void(const RougeFileRow&)> on_row;
  if (context.json) {
    on_row = [&files](const RougeFileRow& row) {
      std::puts(RougeRowJson(row, files.types).c_str());
    };
  }
  ASSIGN_OR_RETURN(const RougeFileReport report, ScoreRougeFiles(files, on_row));
  if (context.json) {
    std::puts(RougeAggregateJson(report, files).c_str());
    return absl::OkStatus();
  }
  std::fputs(RougeReportTable(report).c_str(), stdout);
  std::printf("%s rows, stemmer %s, sentences end %s\n", FormatCount(report.num_samples).c_str(),
              files.use_stemmer ? "on" : "off",
              files.split_sentences ? "at newlines, or by rule" : "at newlines");
  if (!report.any_sentences && Asks(files, "rougeLsum")) {
    std::printf("rougeLsum: no reference has more than one sentence%s\n",
                files.split_sentences ? "" : "; --sentence-split finds those within a line");
  }
  return absl::OkStatus();
}

}  // namespace

void AddRougeCommand(CLI::App& app, RunCommand& run) {
  auto options = std::make_shared<RougeCommandOptions>();
  CLI::App* command = AddCommand(
      app, run, "rouge",
      "Score predictions against references with ROUGE; needs no server.\n"
      "A .jsonl file has a summary in a field of each row, any other file one on each line.\n"
      "--json prints every row's scores, then the means",
      "graft rouge predictions.txt references.jsonl --types rouge1,rouge2,rougeLsum", options,
      RunRouge);
  RougeFileOptions& files = options->files;
  command->add_option("predictions", files.predictions_path, "Text or JSON lines")->required();
  command
      ->add_option("references", files.references_path,
                   "Text or JSON lines, in the order of the predictions; a list of texts in a row "
                   "is several references, of which the best counts")
      ->required();
  command->add_option("--types", files.types, "Of rouge1, rouge2, rougeL, rougeLsum")
      ->delimiter(',')
      ->capture_default_str();
  command->add_flag("--no-stemmer", options->no_stemmer, "Compare words as they are spelled");
  command->add_flag("--sentence-split", files.split_sentences,
                    "For rougeLsum: split texts without newlines into sentences by a rule");
  command->add_option("--prediction-field", files.prediction_field,
                      "Of JSON lines. Default: prediction, else summary");
  command->add_option("--reference-field", files.reference_field,
                      "Of JSON lines. Default: references, else reference, else summary");
  command->add_option("--seed", files.seed, "Of the 95 % bootstrap intervals")
      ->capture_default_str();
}

}  // namespace graft
