// graft datasets, models, adapters.

#include <cstdio>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/cli/command.h"
#include "client/cli/data_files.h"
#include "client/cli/listing.h"
#include "client/cli/output.h"
#include "client/cli/terminal.h"
#include "client/cli/upload_meter.h"
#include "client/cli/usage.h"
#include "common/base/byte_text.h"
#include "common/base/limits.h"
#include "common/base/status_macros.h"
#include "common/jobs/method.h"

namespace graft {
namespace {

struct ListingOptions {
  std::string output;
};

// One page after another of a List method, item by item.
template <typename Request, typename Response, typename Items>
absl::Status ForEach(ApiClient& client, absl::StatusOr<Response> (ApiClient::*list)(const Request&),
                     Request request, const Items& on_items) {
  do {
    ASSIGN_OR_RETURN(const Response response, (client.*list)(request));
    on_items(response);
    request.set_page_token(response.next_page_token());
  } while (!request.page_token().empty());
  return absl::OkStatus();
}

// Empty where nobody made it here.
Cell MakerCell(const std::string& job) { return {job.empty() ? "imported" : job, job}; }

void AddListCommand(CLI::App& app, RunCommand& run, const std::string& description,
                    absl::Status (*body)(CliContext&, const ListingOptions&)) {
  auto options = std::make_shared<ListingOptions>();
  CLI::App* command = AddCommand(app, run, "list", description,
                                 absl::StrCat("graft ", app.get_name(), " list"), options, body);
  AddOutputFlag(*command, options->output);
}

struct UploadOptions {
  std::string path;
  std::string name;
};

absl::Status RunUpload(CliContext& context, const UploadOptions& options) {
  std::string name = options.name;
  if (name.empty()) {
    ASSIGN_OR_RETURN(name, NameOfFile(options.path, kMaxNameBytes, "--name"));
  }
  ASSIGN_OR_RETURN(const v1::Dataset dataset,
                   context.client->UploadDataset(name, options.path, UploadMeter(context)));
  if (context.json) {
    std::puts(ToJson(dataset).c_str());
  } else {
    std::printf("%s: %s rows, %s, fields: %s\n", dataset.name().c_str(),
                FormatCount(dataset.num_rows()).c_str(), FormatBytes(dataset.size_bytes()).c_str(),
                Printable(absl::StrJoin(dataset.fields(), ", ")).c_str());
  }
  return absl::OkStatus();
}

absl::Status RunDatasets(CliContext& context, const ListingOptions& options) {
  ASSIGN_OR_RETURN(const OutputFormat format, FormatOf(context, options.output));
  Listing list(format, {{"DATASET", "name"},
                        {"ROWS>", "num_rows"},
                        {"SIZE>", "size_bytes"},
                        {"FIELDS~", "fields"},
                        {"CREATED?", "create_time"},
                        {"", "sha256"}});
  RETURN_IF_ERROR(ForEach(*context.client, &ApiClient::ListDatasets, v1::ListDatasetsRequest(),
                          [&](const v1::ListDatasetsResponse& response) {
                            for (const v1::Dataset& dataset : response.datasets()) {
                              list.Add(dataset, {{dataset.name()},
                                                 CountCell(dataset.num_rows()),
                                                 BytesCell(dataset.size_bytes()),
                                                 {absl::StrJoin(dataset.fields(), ", ")},
                                                 TimeCell(dataset.create_time()),
                                                 {dataset.sha256()}});
                            }
                          }));
  list.End();
  return absl::OkStatus();
}

struct PreviewOptions {
  std::string name;
  std::string base_model;
  int rows = 3;
  std::string source_field;
  std::string target_field;
  std::string text_field;
  std::string prompt_template;
};

absl::Status RunPreview(CliContext& context, const PreviewOptions& options) {
  v1::PreviewDatasetRequest request;
  request.set_name(options.name);
  request.set_base_model(options.base_model);
  request.set_num_rows(options.rows);
  if (!options.source_field.empty()) request.mutable_data()->set_source_field(options.source_field);
  if (!options.target_field.empty()) request.mutable_data()->set_target_field(options.target_field);
  if (!options.text_field.empty()) request.mutable_data()->set_text_field(options.text_field);
  if (!options.prompt_template.empty()) {
    request.mutable_data()->set_prompt_template(options.prompt_template);
  }
  ASSIGN_OR_RETURN(const v1::PreviewDatasetResponse response,
                   context.client->PreviewDataset(request));
  if (context.json) {
    std::puts(ToJson(response).c_str());
    return absl::OkStatus();
  }
  for (const auto& example : response.examples()) {
    std::printf("line %lld: %d prompt tokens (%d cut), %d target tokens (%d cut)\n",
                static_cast<long long>(example.line()), example.num_prompt_tokens(),
                example.source_tokens_cut(), example.ids_size() - example.num_prompt_tokens(),
                example.target_tokens_cut());
    std::printf("  prompt: %s\n", OneLine(example.prompt(), 200).c_str());
    std::printf("  target: %s\n", OneLine(example.target(), 200).c_str());
    std::printf("  ids:    %s\n", OneLine(absl::StrJoin(example.ids(), " "), 200).c_str());
  }
  return absl::OkStatus();
}

void PrintDeleted(const CliContext& context, const std::string& name) {
  std::fputs(OneFact(context.json, "deleted", name, absl::StrCat("deleted ", name)).c_str(),
             stdout);
}

void PrintDirectory(const CliContext& context, const std::string& directory) {
  std::fputs(OneFact(context.json, "directory", directory, directory).c_str(), stdout);
}

struct EntryOptions {
  std::string name;
};

absl::Status RunDeleteDataset(CliContext& context, const EntryOptions& options) {
  RETURN_IF_ERROR(context.client->DeleteDataset(options.name));
  PrintDeleted(context, options.name);
  return absl::OkStatus();
}

struct AddModelOptions {
  std::string name;
  std::string directory;
};

absl::Status RunAddModel(CliContext& context, const AddModelOptions& options) {
  ASSIGN_OR_RETURN(
      const v1::Model model,
      context.client->ImportModel(options.name, options.directory, UploadMeter(context)));
  if (context.json) {
    std::puts(ToJson(model).c_str());
  } else {
    std::printf("%s: %s parameters, %d layers, width %d, %s\n", model.name().c_str(),
                FormatCount(model.num_parameters()).c_str(), model.n_layer(), model.n_embd(),
                model.dtype().c_str());
  }
  return absl::OkStatus();
}

absl::Status RunModels(CliContext& context, const ListingOptions& options) {
  ASSIGN_OR_RETURN(const OutputFormat format, FormatOf(context, options.output));
  Listing list(format, {{"MODEL", "name"},
                        {"PARAMETERS>", "num_parameters"},
                        {"LAYERS>", "n_layer"},
                        {"WIDTH>", "n_embd"},
                        {"HEADS>?", "n_head"},
                        {"CONTEXT>", "n_positions"},
                        {"VOCABULARY>?", "vocab_size"},
                        {"DTYPE?", "dtype"},
                        {"FROM~", "job"},
                        {"", "create_time"},
                        {"", "sha256"}});
  RETURN_IF_ERROR(ForEach(*context.client, &ApiClient::ListModels, v1::ListModelsRequest(),
                          [&](const v1::ListModelsResponse& response) {
                            for (const v1::Model& model : response.models()) {
                              list.Add(model, {{model.name()},
                                               CountCell(model.num_parameters()),
                                               {absl::StrCat(model.n_layer())},
                                               {absl::StrCat(model.n_embd())},
                                               {absl::StrCat(model.n_head())},
                                               {absl::StrCat(model.n_positions())},
                                               CountCell(model.vocab_size()),
                                               {model.dtype()},
                                               MakerCell(model.job()),
                                               TimeCell(model.create_time()),
                                               {model.sha256()}});
                            }
                          }));
  list.End();
  return absl::OkStatus();
}

absl::Status RunDeleteModel(CliContext& context, const EntryOptions& options) {
  RETURN_IF_ERROR(context.client->DeleteModel(options.name));
  PrintDeleted(context, options.name);
  return absl::OkStatus();
}

struct ListAdaptersOptions {
  std::string base_model;
  std::string output;
};

absl::Status RunAdapters(CliContext& context, const ListAdaptersOptions& options) {
  ASSIGN_OR_RETURN(const OutputFormat format, FormatOf(context, options.output));
  v1::ListAdaptersRequest request;
  if (!options.base_model.empty()) {
    request.set_filter(absl::StrCat("base_model = \"", options.base_model, "\""));
  }
  Listing list(format, {{"ADAPTER", "name"},
                        {"BASE MODEL", "base_model"},
                        {"METHOD", "method"},
                        {"TRAINED>", "trainable_parameters"},
                        {"SIZE>", "size_bytes"},
                        {"FROM?", "job"},
                        {"CREATED?", "create_time"},
                        {"", "sha256"}});
  RETURN_IF_ERROR(ForEach(*context.client, &ApiClient::ListAdapters, request,
                          [&](const v1::ListAdaptersResponse& response) {
                            for (const v1::Adapter& adapter : response.adapters()) {
                              list.Add(adapter, {{adapter.name()},
                                                 {adapter.base_model()},
                                                 {MethodName(adapter.method())},
                                                 CountCell(adapter.trainable_parameters()),
                                                 BytesCell(adapter.size_bytes()),
                                                 MakerCell(adapter.job()),
                                                 TimeCell(adapter.create_time()),
                                                 {adapter.sha256()}});
                            }
                          }));
  list.End();
  return absl::OkStatus();
}

absl::Status RunShowAdapter(CliContext& context, const EntryOptions& options) {
  ASSIGN_OR_RETURN(const v1::Adapter adapter, context.client->GetAdapter(options.name));
  if (context.json) {
    std::puts(ToJson(adapter, true).c_str());
    return absl::OkStatus();
  }
  std::printf("%s: %s on %s, %s parameters, %s\n", adapter.name().c_str(),
              MethodName(adapter.method()).c_str(), adapter.base_model().c_str(),
              FormatCount(adapter.trainable_parameters()).c_str(),
              FormatBytes(adapter.size_bytes()).c_str());
  if (!adapter.directory().empty()) std::printf("on the server: %s\n", adapter.directory().c_str());
  for (const auto& file : adapter.files()) {
    std::printf("  %-40s %s\n", file.path().c_str(), FormatBytes(file.size_bytes()).c_str());
  }
  if (!adapter.peft_snippet().empty()) {
    std::printf("\nin Python:\n\n%s\n", adapter.peft_snippet().c_str());
  }
  return absl::OkStatus();
}

struct DownloadOptions {
  std::string name;
  std::string directory;
  std::string peft_version;
};

absl::Status RunDownload(CliContext& context, const DownloadOptions& options) {
  const std::string directory = options.directory.empty() ? options.name : options.directory;
  v1::DownloadAdapterRequest request;
  request.set_name(options.name);
  request.set_peft_version(options.peft_version);
  RETURN_IF_ERROR(EndableDownload(
      context, [&] { return context.client->DownloadAdapter(request, directory); }));
  PrintDirectory(context, directory);
  return absl::OkStatus();
}

struct MergeOptions {
  std::string name;
  std::string directory;
  std::string dtype;
};

absl::Status RunMerge(CliContext& context, const MergeOptions& options) {
  v1::MergeAdapterRequest request;
  request.set_name(options.name);
  request.set_dtype(options.dtype);
  RETURN_IF_ERROR(EndableDownload(
      context, [&] { return context.client->MergeAdapter(request, options.directory); }));
  PrintDirectory(context, options.directory);
  return absl::OkStatus();
}

struct ImportOptions {
  std::string directory;
  std::string name;
  std::string base_model;
};

absl::Status RunImport(CliContext& context, const ImportOptions& options) {
  ASSIGN_OR_RETURN(const v1::Adapter adapter,
                   context.client->ImportAdapter(options.name, options.base_model,
                                                 options.directory, UploadMeter(context)));
  if (context.json) {
    std::puts(ToJson(adapter).c_str());
  } else {
    std::printf("%s: %s on %s\n", adapter.name().c_str(), MethodName(adapter.method()).c_str(),
                adapter.base_model().c_str());
  }
  return absl::OkStatus();
}

absl::Status RunDeleteAdapter(CliContext& context, const EntryOptions& options) {
  RETURN_IF_ERROR(context.client->DeleteAdapter(options.name));
  PrintDeleted(context, options.name);
  return absl::OkStatus();
}

}  // namespace

void AddDatasetCommands(CLI::App& app, RunCommand& run) {
  CLI::App* datasets = app.add_subcommand("datasets", "Data sets: upload, list, preview, delete");
  datasets->require_subcommand(1)->fallthrough();
  auto upload = std::make_shared<UploadOptions>();
  CLI::App* upload_command =
      AddCommand(*datasets, run, "upload", "Upload JSON lines, CSV or .txt; every row is checked",
                 "graft datasets upload articles.jsonl --name articles", upload, RunUpload);
  upload_command->add_option("file", upload->path, "The file")
      ->required()
      ->check(CLI::ExistingFile);
  upload_command->add_option(
      "--name", upload->name,
      "Default: the file's name without its ending, with - for what names do not have");
  AddListCommand(*datasets, run, "List data sets", RunDatasets);
  auto preview = std::make_shared<PreviewOptions>();
  CLI::App* preview_command =
      AddCommand(*datasets, run, "preview", "Show the first rows as they would train, in tokens",
                 "graft datasets preview articles --base-model gpt2", preview, RunPreview);
  preview_command->add_option("dataset", preview->name, "Its name")->required();
  preview_command->add_option("--base-model", preview->base_model, "Whose tokenizer")->required();
  preview_command->add_option("--rows", preview->rows, "How many")->check(CLI::Range(1, 20));
  preview_command->add_option("--source-field", preview->source_field, "Default: document");
  preview_command->add_option("--target-field", preview->target_field, "Default: summary");
  preview_command->add_option("--text-field", preview->text_field,
                              "Plain text instead of pairs (of a .txt: text)");
  preview_command->add_option("--prompt-template", preview->prompt_template,
                              "Default: {source}\\nTL;DR:");
  auto remove = std::make_shared<EntryOptions>();
  AddCommand(*datasets, run, "delete", "Delete a data set that no unfinished job uses",
             "graft datasets delete articles", remove, RunDeleteDataset)
      ->add_option("dataset", remove->name, "Its name")
      ->required();
}

void AddModelCommands(CLI::App& app, RunCommand& run) {
  CLI::App* models = app.add_subcommand("models", "Base models: add, list, delete");
  models->require_subcommand(1)->fallthrough();
  auto add = std::make_shared<AddModelOptions>();
  CLI::App* add_command = AddCommand(*models, run, "add", "Add a Hugging Face GPT-2 folder",
                                     "graft models add gpt2 ~/models/gpt2", add, RunAddModel);
  add_command->add_option("name", add->name, "The name that jobs will use")->required();
  add_command
      ->add_option("folder", add->directory, "config.json, model.safetensors, vocab.json, ...")
      ->required()
      ->check(CLI::ExistingDirectory);
  AddListCommand(*models, run, "List base models", RunModels);
  auto remove = std::make_shared<EntryOptions>();
  AddCommand(*models, run, "delete", "Delete a model that nothing uses", "graft models delete gpt2",
             remove, RunDeleteModel)
      ->add_option("model", remove->name, "Its name")
      ->required();
}

void AddAdapterCommands(CLI::App& app, RunCommand& run) {
  CLI::App* adapters =
      app.add_subcommand("adapters", "Adapters: list, show, download, merge, import, delete");
  adapters->require_subcommand(1)->fallthrough();
  auto list = std::make_shared<ListAdaptersOptions>();
  CLI::App* list_command = AddCommand(*adapters, run, "list", "List adapters",
                                      "graft adapters list --base-model gpt2", list, RunAdapters);
  list_command->add_option("--base-model", list->base_model, "Only those on this model");
  AddOutputFlag(*list_command, list->output);
  auto show = std::make_shared<EntryOptions>();
  AddCommand(*adapters, run, "show", "Show an adapter's files and how to load it",
             "graft adapters show news-lora", show, RunShowAdapter)
      ->add_option("adapter", show->name, "Its name")
      ->required();
  auto download = std::make_shared<DownloadOptions>();
  CLI::App* download_command =
      AddCommand(*adapters, run, "download", "Download an adapter as PEFT loads it",
                 "graft adapters download news-lora --to ./news-lora", download, RunDownload);
  download_command->add_option("adapter", download->name, "Its name")->required();
  download_command->add_option("--to", download->directory,
                               "A folder that does not exist; default: the adapter's name");
  download_command->add_option(
      "--peft-version", download->peft_version,
      "The PEFT that will read it, 0.10 to 0.21; default: as it is stored, "
      "which for adapters made here 0.14 and newer read");
  auto merge = std::make_shared<MergeOptions>();
  CLI::App* merge_command = AddCommand(
      *adapters, run, "merge", "Download the base model with the adapter merged into its weights",
      "graft adapters merge news-lora --to ./news-gpt2", merge, RunMerge);
  merge_command->add_option("adapter", merge->name, "Its name")->required();
  merge_command->add_option("--to", merge->directory, "A folder that does not exist")->required();
  merge_command->add_option("--dtype", merge->dtype, "Of the weights; default: F32")
      ->transform(OneOf({"F32", "F16", "BF16"}));
  auto import = std::make_shared<ImportOptions>();
  CLI::App* import_command = AddCommand(
      *adapters, run, "import", "Import a PEFT folder",
      "graft adapters import ./my-lora --name my-lora --base-model gpt2", import, RunImport);
  import_command->add_option("folder", import->directory, "adapter_config.json, ...")
      ->required()
      ->check(CLI::ExistingDirectory);
  import_command->add_option("--name", import->name, "Its name here")->required();
  import_command->add_option("--base-model", import->base_model, "The model it belongs to")
      ->required();
  auto remove = std::make_shared<EntryOptions>();
  AddCommand(*adapters, run, "delete", "Delete an adapter that no unfinished job uses",
             "graft adapters delete news-lora", remove, RunDeleteAdapter)
      ->add_option("adapter", remove->name, "Its name")
      ->required();
}

}  // namespace graft
