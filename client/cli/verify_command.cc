// graft verify.

#include <unistd.h>

#include <cstdio>
#include <cstdlib>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "client/cli/command.h"
#include "client/cli/output.h"
#include "client/cli/terminal.h"
#include "client/cli/verify.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "common/formats/evaluation_files.h"
#include "common/formats/graft_json.h"
#include "common/jobs/artifacts.h"

namespace graft {
namespace {

struct VerifyOptions {
  std::string target;
  std::string base_model_directory;
  std::vector<std::string> data_files;
  bool offline = false;
};

// Asks the server by name; that it is not there, or does not know the name, is no difference.
template <typename Get>
HashSource AskServer(const char* kind, Get get) {
  return [kind, get](const std::string& name) -> absl::StatusOr<std::string> {
    const auto found = get(name);
    if (found.ok()) return found->sha256();
    if (absl::IsUnavailable(found.status())) return absl::UnavailableError("no server answers");
    return absl::Status(found.status().code(),
                        absl::StrCat("the server knows no ", kind, " ", name));
  };
}

VerifySources SourcesOf(CliContext& context, const VerifyOptions& options) {
  VerifySources sources;
  sources.base_model_directory = options.base_model_directory;
  sources.data_files = options.data_files;
  if (options.offline) return sources;
  ApiClient& client = *context.client;
  sources.base_model =
      AskServer("model", [&client](const std::string& name) { return client.GetModel(name); });
  sources.data_set =
      AskServer("data set", [&client](const std::string& name) { return client.GetDataset(name); });
  sources.adapter =
      AskServer("adapter", [&client](const std::string& name) { return client.GetAdapter(name); });
  return sources;
}

// Of an evaluation of several adapters what is said of each.
absl::StatusOr<std::vector<VerifyCheck>> VerifyAdapters(const std::string& directory,
                                                        const VerifySources& sources) {
  ASSIGN_OR_RETURN(const std::vector<std::string> names, ListDirectory(directory));
  std::vector<VerifyCheck> all;
  for (const std::string& name : names) {
    VerifySources of_one = sources;
    of_one.published.clear();
    for (ManifestFile file : sources.published) {
      absl::string_view path = file.path;
      if (!absl::ConsumePrefix(&path, EvaluationFile(name, ""))) continue;
      file.path = std::string(path);
      of_one.published.push_back(std::move(file));
    }
    ASSIGN_OR_RETURN(const std::vector<VerifyCheck> checks,
                     VerifyEvaluationDirectory(JoinPath(directory, name), of_one));
    for (VerifyCheck check : checks) {
      check.what = absl::StrCat(name, ": ", check.what);
      all.push_back(std::move(check));
    }
  }
  return all;
}

absl::StatusOr<std::vector<VerifyCheck>> VerifyDirectory(const std::string& directory,
                                                         const VerifySources& sources) {
  if (FileExists(JoinPath(directory, kGraftJson))) {
    return VerifyAdapterDirectory(directory, sources);
  }
  if (FileExists(JoinPath(directory, kResultsFile))) {
    return VerifyEvaluationDirectory(directory, sources);
  }
  const std::string several = JoinPath(directory, "adapters");
  if (DirectoryExists(several)) return VerifyAdapters(several, sources);
  return absl::InvalidArgumentError(
      absl::StrCat(directory,
                   " has neither graft.json (an adapter of graft) nor results.json (an "
                   "evaluation): there is nothing to verify it by"));
}

// Fetches the files of an evaluate job into `directory`.
absl::StatusOr<std::vector<VerifyCheck>> VerifyJob(CliContext& context, const std::string& name,
                                                   const std::string& directory,
                                                   VerifySources& sources) {
  ASSIGN_OR_RETURN(const auto listed, context.client->ListJobArtifacts(name));
  sources.published = ToManifest(listed.artifacts());
  for (const ManifestFile& file : sources.published) {
    const std::string path = JoinPath(directory, file.path);
    RETURN_IF_ERROR(CreateDirectories(DirectoryOf(path)));
    RETURN_IF_ERROR(context.client->DownloadJobArtifact(name, file.path, path));
  }
  const bool evaluates = FileExists(JoinPath(directory, kResultsFile)) ||
                         DirectoryExists(JoinPath(directory, "adapters"));
  if (!evaluates) {
    return absl::InvalidArgumentError(absl::StrCat(
        name, " is no evaluate job that has succeeded; of a fine-tune job verify the adapter"));
  }
  return VerifyDirectory(directory, sources);
}

absl::StatusOr<std::vector<VerifyCheck>> VerifyAdapter(CliContext& context, const std::string& name,
                                                       const std::string& directory,
                                                       VerifySources& sources) {
  ASSIGN_OR_RETURN(const v1::Adapter adapter, context.client->GetAdapter(name));
  sources.published = ToManifest(adapter.files());
  const std::string copy = JoinPath(directory, "adapter");
  v1::DownloadAdapterRequest request;
  request.set_name(name);
  RETURN_IF_ERROR(context.client->DownloadAdapter(request, copy));
  return VerifyDirectory(copy, sources);
}

absl::StatusOr<std::vector<VerifyCheck>> Verify(CliContext& context, const VerifyOptions& options) {
  VerifySources sources = SourcesOf(context, options);
  if (DirectoryExists(options.target)) return VerifyDirectory(options.target, sources);
  if (options.offline) {
    return absl::InvalidArgumentError(
        absl::StrCat(options.target, " is no directory here, and --offline asks no server"));
  }
  std::string directory = "/tmp/graft-verify-XXXXXX";
  if (mkdtemp(directory.data()) == nullptr) return FileError(errno, "make", directory);
  const absl::Cleanup remove = [&] { RemoveTree(directory).IgnoreError(); };
  return absl::StartsWith(options.target, "jobs/")
             ? VerifyJob(context, options.target, directory, sources)
             : VerifyAdapter(context, options.target, directory, sources);
}

absl::Status RunVerify(CliContext& context, const VerifyOptions& options) {
  ASSIGN_OR_RETURN(const std::vector<VerifyCheck> checks, Verify(context, options));
  std::fputs((context.json ? VerifyJson(checks) : Printable(VerifyText(checks))).c_str(), stdout);
  if (Holds(checks)) return absl::OkStatus();
  return AlreadyPrinted(absl::StatusCode::kDataLoss);
}

}  // namespace

void AddVerifyCommand(CLI::App& app, RunCommand& run) {
  auto options = std::make_shared<VerifyOptions>();
  CLI::App* command = AddCommand(
      app, run, "verify",
      "Recompute what a result says of itself: hashes of its files, base model and data, its\n"
      "metrics, and an evaluation's scores from its predictions. Exit code 1 if anything differs",
      "graft verify news-lora", options, RunVerify);
  command
      ->add_option("result", options->target,
                   "An adapter's name, an evaluate job (jobs/ID), or a downloaded directory of "
                   "either")
      ->required();
  command
      ->add_option("--base-model", options->base_model_directory,
                   "The base model's directory here, instead of the server's")
      ->type_name("DIR");
  command->add_option("--data", options->data_files, "Data files here, likewise")
      ->type_name("FILE");
  command->add_flag("--offline", options->offline, "Ask no server");
}

}  // namespace graft
