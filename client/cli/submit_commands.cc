// graft submit, graft eval: jobs from flags.

#include <cstdio>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "client/cli/command.h"
#include "client/cli/data_files.h"
#include "client/cli/job_file.h"
#include "client/cli/job_flags.h"
#include "client/cli/output.h"
#include "client/cli/terminal.h"
#include "common/base/file.h"
#include "common/base/sha256.h"
#include "common/base/status_macros.h"
#include "common/errors/status_details.h"
#include "common/jobs/job_spec.h"
#include "common/jobs/method.h"

namespace graft {
namespace {

struct SubmitOptions {
  JobFlagValues flags;
  std::string request_id;
  bool validate_only = false;
  bool watch = false;
};

// The same for the same request id, since a request that is repeated must be the same.
std::string StudyNameFor(const std::string& request_id) {
  return absl::StrCat("study-", Sha256Hex(request_id).substr(0, 8));
}

v1::DataSpec& DataOf(v1::Job& job) {
  return job.spec().has_evaluate() ? *job.mutable_spec()->mutable_evaluate()->mutable_data()
                                   : *job.mutable_spec()->mutable_fine_tune()->mutable_data();
}

// A submission: what was given, and the jobs that it describes.
struct Submission {
  const SubmitOptions& options;
  const std::vector<JobFlag>& flags;
  std::string spec_path;  // Of the file.
  std::string request_id;
  std::vector<v1::Job> jobs;

  std::string NameOf(absl::string_view field) const {
    return NameOfField(flags, options.flags, spec_path, field);
  }
};

// The data that the job names: data sets of the server, or files here.
std::vector<SpecReference> DataNames(const v1::Job& job) {
  const SpecReferences names = ReferencesOf(job.spec(), "job.spec");
  std::vector<SpecReference> given;
  for (const SpecReference& name : {names.train, names.validation}) {
    if (!name.name.empty()) given.push_back(name);
  }
  return given;
}

std::string FolderName(const std::string& path) {
  const std::string name = BaseName(absl::StripSuffix(path, "/"));
  return IsSafeFileName(name) ? name : "NAME";
}

// How a folder of this machine becomes what a job can name.
std::string HowToAdd(const SpecReferences& names, const std::string& field) {
  const std::string& base = names.base_model.name;
  if (field == names.base_model.field) {
    return absl::StrCat("graft models add ", FolderName(base), " ", base);
  }
  const std::string& adapter = names.adapter.name;
  return absl::StrCat("graft adapters import ", adapter, " --name ", FolderName(adapter),
                      " --base-model ", base.empty() ? "MODEL" : FolderName(base));
}

// Jobs name models and adapters of the server; a path can only be a folder here.
absl::Status CheckFolders(const v1::Job& job) {
  const SpecReferences names = ReferencesOf(job.spec(), "job.spec");
  Violations violations;
  for (const SpecReference& name : {names.base_model, names.adapter}) {
    if (!IsPath(name.name)) continue;
    violations.Add(name.field, absl::StrCat("a job names what the server has, not the folder ",
                                            name.name, "; first: ", HowToAdd(names, name.field)));
  }
  return violations.ToStatus();
}

// A status with fields called as whoever wrote the command calls them. What the server does not
// know may be a folder here that was never added.
absl::Status InTheirWords(const Submission& submission, const absl::Status& status,
                          const v1::Job& job) {
  const auto given = FieldViolationsOf(status);
  if (given.empty()) return status;
  const SpecReferences names = ReferencesOf(job.spec(), "job.spec");
  Violations violations;
  for (const auto& violation : given) {
    std::string description = violation.description();
    for (const SpecReference& name : {names.base_model, names.adapter}) {
      if (violation.reason().empty() || name.field != violation.field()) continue;
      if (!DirectoryExists(name.name)) continue;
      absl::StrAppend(&description,
                      "; to add the folder of this name: ", HowToAdd(names, name.field));
    }
    violations.Add(submission.NameOf(violation.field()), description, violation.reason());
  }
  return violations.Explain(status);
}

// Of the jobs of a study, each has its own: ID-1, ID-2, ….
v1::CreateJobRequest CreationOf(const std::vector<v1::Job>& jobs, size_t index,
                                const std::string& request_id) {
  v1::CreateJobRequest request;
  *request.mutable_job() = jobs[index];
  request.set_request_id(jobs.size() == 1 ? request_id : absl::StrCat(request_id, "-", index + 1));
  return request;
}

v1::CreateJobRequest ValidationOf(const Submission& submission, size_t index) {
  v1::CreateJobRequest request = CreationOf(submission.jobs, index, submission.request_id);
  request.set_validate_only(true);
  return request;
}

// What can be said of a job without the server.
absl::Status CheckHere(const Submission& submission, size_t index) {
  const v1::Job& job = submission.jobs[index];
  RETURN_IF_ERROR(CheckFolders(job));
  v1::CreateJobRequest request = CreationOf(submission.jobs, index, submission.request_id);
  v1::DataSpec& data = DataOf(*request.mutable_job());
  // May name files, which have no name as data sets yet.
  if (!data.train().empty()) data.set_train("train");
  if (!data.validation().empty()) data.set_validation("validation");
  RETURN_IF_ERROR(ValidateCreateJob(request));
  for (const SpecReference& name : DataNames(job)) {
    const std::string flag = submission.NameOf(name.field);
    ASSIGN_OR_RETURN(const bool file, IsDataFile(name.name, flag));
    const bool train = absl::EndsWith(name.field, ".train");
    const int64_t max_rows = train ? data.max_train_rows() : data.max_validation_rows();
    if (file) RETURN_IF_ERROR(CheckRows(name.name, data, max_rows, flag));
  }
  return absl::OkStatus();
}

// Files of this machine, and the data set that each becomes.
using DataFiles = std::map<std::string, FileDataset>;

// Names the data sets that the files of the job become. `files` has those of the jobs before.
absl::Status NameFiles(const Submission& submission, v1::Job& job, DataFiles& files) {
  v1::DataSpec& data = DataOf(job);
  for (const SpecReference& name : DataNames(job)) {
    const std::string flag = submission.NameOf(name.field);
    ASSIGN_OR_RETURN(const bool file, IsDataFile(name.name, flag));
    if (!file) continue;
    FileDataset& dataset = files[name.name];
    if (dataset.name.empty()) {
      ASSIGN_OR_RETURN(dataset, DatasetOfFile(name.name, flag));
    }
    absl::EndsWith(name.field, ".train") ? data.set_train(dataset.name)
                                         : data.set_validation(dataset.name);
  }
  return absl::OkStatus();
}

// What the server says of a job, except that a file was not uploaded yet: the data sets of those
// are added to `missing`.
absl::Status CheckThere(CliContext& context, const Submission& submission, size_t index,
                        const DataFiles& files, std::set<std::string>& missing) {
  const absl::Status status = context.client->CreateJob(ValidationOf(submission, index)).status();
  std::map<std::string, std::string> names;  // By field.
  for (const SpecReference& name : DataNames(submission.jobs[index])) names[name.field] = name.name;
  const auto to_upload = [&](const std::string& dataset) {
    return absl::c_any_of(files, [&](const auto& file) { return file.second.name == dataset; });
  };
  Violations others;
  bool uploads = false;
  for (const auto& violation : FieldViolationsOf(status)) {
    const std::string& name = names[violation.field()];
    if (violation.reason() == kReasonDatasetMissing && to_upload(name)) {
      missing.insert(name);
      uploads = true;
    } else {
      others.Add(violation.field(), violation.description(), violation.reason());
    }
  }
  if (!uploads) return status;
  return others.empty() ? absl::OkStatus() : others.Explain(status);
}

// All or none: what would be refused is refused before anything is uploaded, and before the first
// job of a study is there.
absl::Status Prepare(CliContext& context, Submission& submission) {
  const auto for_each_job = [&](const auto& check) -> absl::Status {
    for (size_t i = 0; i < submission.jobs.size(); ++i) {
      const absl::Status checked = check(i);
      if (!checked.ok()) return InTheirWords(submission, checked, submission.jobs[i]);
    }
    return absl::OkStatus();
  };
  DataFiles files;
  std::set<std::string> missing;
  const auto check_there = [&](size_t i) {
    return CheckThere(context, submission, i, files, missing);
  };
  RETURN_IF_ERROR(for_each_job([&](size_t i) { return CheckHere(submission, i); }));
  RETURN_IF_ERROR(
      for_each_job([&](size_t i) { return NameFiles(submission, submission.jobs[i], files); }));
  RETURN_IF_ERROR(for_each_job(check_there));
  if (missing.empty()) return absl::OkStatus();
  for (const auto& [path, dataset] : files) {
    if (missing.erase(dataset.name) > 0) RETURN_IF_ERROR(UploadDataFile(context, path, dataset));
  }
  // Only now is known whether the data is enough for every job of a study.
  return submission.jobs.size() == 1 ? absl::OkStatus() : for_each_job(check_there);
}

// How to go on after a submission that ended with `status` after `done` of its jobs.
void PrintRepetition(const absl::Status& status, size_t done, size_t all,
                     const std::string& request_id) {
  if (!IsUnreachable(status) && done == 0) return;
  const std::string there = done == 0 ? "" : absl::StrCat(done, " of ", all, " jobs are there; ");
  std::fprintf(stderr,
               "graft: %sto repeat this command without making a job twice, give it "
               "--request-id %s\n",
               there.c_str(), request_id.c_str());
}

// What --validate-only prints on standard output is a job file.
void PrintJob(const CliContext& context, const v1::Job& job, bool validate_only) {
  if (context.json) {
    std::puts(ToJson(job).c_str());
  } else if (validate_only) {
    std::fputs("graft: valid; as it would run:\n", stderr);
    std::puts(ToJson(job.resolved_spec(), true).c_str());
  } else {
    const std::string line =
        absl::StrCat(job.name(), "  ", MethodName(job.resolved_spec()),
                     job.display_name().empty() ? "" : "  ", job.display_name());
    std::puts(Printable(line).c_str());
  }
}

void SayStudy(const CliContext& context, const char* what, const std::string& study) {
  if (context.json) return;
  const std::string quoted = absl::StrContains(study, ' ') ? absl::StrCat("'", study, "'") : study;
  const std::string line =
      absl::StrCat(what, ": ", GraftCommand(context), " compare --study ", quoted);
  std::puts(Printable(line).c_str());
}

// Who watches sees them among the job's events.
void PrintWarnings(const SubmitOptions& options, const v1::Job& job) {
  if (options.watch && !options.validate_only) return;
  for (const v1::Warning& warning : job.warnings()) {
    std::fprintf(stderr, "graft: warning: %s\n", Printable(warning.text()).c_str());
  }
}

absl::Status Create(CliContext& context, Submission& submission) {
  const bool validate_only = submission.options.validate_only;
  std::vector<v1::Job>& jobs = submission.jobs;
  RETURN_IF_ERROR(Prepare(context, submission));
  for (size_t i = 0; i < jobs.size(); ++i) {
    absl::StatusOr<v1::Job> job = context.client->CreateJob(
        validate_only ? ValidationOf(submission, i) : CreationOf(jobs, i, submission.request_id));
    if (!job.ok()) {
      if (!validate_only) PrintRepetition(job.status(), i, jobs.size(), submission.request_id);
      return InTheirWords(submission, job.status(), jobs[i]);
    }
    jobs[i] = *std::move(job);
    PrintJob(context, jobs[i], validate_only);
    PrintWarnings(submission.options, jobs[i]);
  }
  if (jobs.size() > 1 && !validate_only) SayStudy(context, "study", jobs[0].study());
  return absl::OkStatus();
}

// A file is of one task, and each command submits one.
absl::Status CheckTask(const v1::Job& job, bool evaluate, const std::string& file) {
  const bool other = evaluate ? job.spec().has_fine_tune() : job.spec().has_evaluate();
  if (!other) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(file, ": is ", evaluate ? "a fine-tune" : "an evaluate", " job; graft ",
                   evaluate ? "submit" : "eval", " --file ", file, " submits it"));
}

absl::Status Watch(CliContext& context, const std::vector<v1::Job>& jobs) {
  absl::Status worst = absl::OkStatus();
  for (const v1::Job& job : jobs) {
    const absl::Status status =
        FollowJob(context, job.name(), 0, jobs.size() == 1 ? "" : job.name());
    if (absl::IsCancelled(status)) return status;
    if (!status.ok()) worst = status;
  }
  if (jobs.size() > 1) SayStudy(context, "next", jobs[0].study());
  return worst;
}

absl::Status Run(CliContext& context, const SubmitOptions& options,
                 const std::vector<JobFlag>& flags, bool evaluate) {
  Submission submission{options, flags, "spec",
                        options.request_id.empty() ? NewRequestId() : options.request_id};
  JobFile file;
  if (!options.flags.file.empty()) {
    ASSIGN_OR_RETURN(file, ReadJobFile(options.flags.file));
    RETURN_IF_ERROR(CheckTask(file.job, evaluate, options.flags.file));
    submission.spec_path = file.spec_path;
  }
  ASSIGN_OR_RETURN(submission.jobs, JobsFromFlags(flags, options.flags, file.job,
                                                  StudyNameFor(submission.request_id)));
  for (v1::Job& job : submission.jobs) {
    evaluate ? (void)job.mutable_spec()->mutable_evaluate()
             : (void)job.mutable_spec()->mutable_fine_tune();
  }
  RETURN_IF_ERROR(Create(context, submission));
  if (!options.watch || options.validate_only) return absl::OkStatus();
  return Watch(context, submission.jobs);
}

absl::Status RunSubmit(CliContext& context, const SubmitOptions& options) {
  return Run(context, options, FineTuneFlags(), false);
}

absl::Status RunEval(CliContext& context, const SubmitOptions& options) {
  return Run(context, options, EvaluateFlags(), true);
}

void AddSubmitOptions(CLI::App& command, const std::vector<JobFlag>& flags,
                      SubmitOptions& options) {
  AddJobFlags(command, flags, options.flags);
  command
      .add_option("--request-id", options.request_id,
                  "Makes the same command safe to repeat after a lost answer: with the same id and "
                  "the same flags it is answered with the job that it made, for 24 hours; the jobs "
                  "of a list have ID-1, ID-2, and so on [a new one]")
      ->type_name("ID");
  command.add_flag("--watch", options.watch, "Follow the job to its end");
  command.add_flag(
      "--validate-only", options.validate_only,
      "Check and print it with all defaults, as a job file, but do not run it (a file of data is "
      "uploaded)");
}

}  // namespace

void AddSubmitCommand(CLI::App& app, RunCommand& run) {
  auto options = std::make_shared<SubmitOptions>();
  CLI::App* command =
      AddCommand(app, run, "submit",
                 "Submit a fine-tune job; a list (--rank 2,4,8) makes a job for each value",
                 "graft submit --base-model gpt2 --method lora --rank 8 --train articles.jsonl \\\n"
                 "    --validation-fraction 0.1 --epochs 3 --watch",
                 options, RunSubmit);
  AddSubmitOptions(*command, FineTuneFlags(), *options);
}

void AddEvalCommand(CLI::App& app, RunCommand& run) {
  auto options = std::make_shared<SubmitOptions>();
  CLI::App* command = AddCommand(
      app, run, "eval", "Evaluate a base model, with or without an adapter: loss and ROUGE",
      "graft eval --base-model gpt2 --adapter news-lora --data test.jsonl --watch", options,
      RunEval);
  AddSubmitOptions(*command, EvaluateFlags(), *options);
}

}  // namespace graft
