#include "client/cli/submission.h"

#include <cstdio>
#include <set>

#include "absl/algorithm/container.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "client/cli/job_file.h"
#include "client/cli/output.h"
#include "common/base/file.h"
#include "common/base/sha256.h"
#include "common/base/status_macros.h"
#include "common/errors/status_details.h"
#include "common/jobs/job_spec.h"

namespace graft {
namespace {

v1::DataSpec& DataOf(v1::Job& job) {
  return job.spec().has_evaluate() ? *job.mutable_spec()->mutable_evaluate()->mutable_data()
                                   : *job.mutable_spec()->mutable_fine_tune()->mutable_data();
}

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

// Models and adapters that the job names.
std::vector<SpecReference> FolderNames(const SpecReferences& names) {
  std::vector<SpecReference> all = {names.base_model, names.adapter};
  all.insert(all.end(), names.adapters.begin(), names.adapters.end());
  return all;
}

// How a folder of this machine becomes what a job can name.
std::string HowToAdd(const SpecReferences& names, const SpecReference& folder) {
  const std::string& base = names.base_model.name;
  if (folder.field == names.base_model.field) {
    return absl::StrCat("graft models add ", FolderName(base), " ", base);
  }
  const std::string& adapter = folder.name;
  return absl::StrCat("graft adapters import ", adapter, " --name ", FolderName(adapter),
                      " --base-model ", base.empty() ? "MODEL" : FolderName(base));
}

// Jobs name models and adapters of the server; a path can only be a folder here.
absl::Status CheckFolders(const v1::Job& job) {
  const SpecReferences names = ReferencesOf(job.spec(), "job.spec");
  Violations violations;
  for (const SpecReference& name : FolderNames(names)) {
    if (!IsPath(name.name)) continue;
    violations.Add(name.field, absl::StrCat("a job names what the server has, not the folder ",
                                            name.name, "; first: ", HowToAdd(names, name)));
  }
  return violations.ToStatus();
}

}  // namespace

absl::Status InTheirWords(const Submission& submission, const absl::Status& status,
                          const v1::Job& job) {
  const auto given = FieldViolationsOf(status);
  if (given.empty()) return status;
  const SpecReferences names = ReferencesOf(job.spec(), "job.spec");
  Violations violations;
  for (const auto& violation : given) {
    std::string description = violation.description();
    for (const SpecReference& name : FolderNames(names)) {
      if (violation.reason().empty() || name.field != violation.field()) continue;
      if (!DirectoryExists(name.name)) continue;
      absl::StrAppend(&description, "; to add the folder of this name: ", HowToAdd(names, name));
    }
    violations.Add(submission.NameOf(violation.field()), description, violation.reason());
  }
  return violations.Explain(status);
}

v1::CreateJobRequest CreationOf(const Submission& submission, size_t index) {
  v1::CreateJobRequest request;
  *request.mutable_job() = submission.jobs[index];
  // Of several, which are trials of a study, none is made by its own request.
  if (submission.jobs.size() == 1) request.set_request_id(submission.request_id);
  return request;
}

v1::CreateJobRequest ValidationOf(const Submission& submission, size_t index) {
  v1::CreateJobRequest request = CreationOf(submission, index);
  request.set_validate_only(true);
  return request;
}

v1::PlanJobRequest PlanOf(const v1::Job& job) {
  v1::PlanJobRequest request;
  *request.mutable_spec() = job.spec();
  request.set_priority(job.priority());
  request.set_allow_migration(job.allow_migration());
  return request;
}

std::string NameOfSpecField(const Submission& submission, const std::string& field) {
  return submission.NameOf(absl::StrCat("job.spec.", field));
}

namespace {

// A file is of one task, and each command submits one.
absl::Status CheckTask(const v1::Job& job, bool evaluate, const std::string& file) {
  const bool other = evaluate ? job.spec().has_fine_tune() : job.spec().has_evaluate();
  if (!other) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(file, ": is ", evaluate ? "a fine-tune" : "an evaluate", " job; graft ",
                   evaluate ? "submit" : "eval", " --file ", file, " submits it"));
}

}  // namespace

absl::Status ReadJobs(bool evaluate, Submission& submission) {
  JobFile file;
  const std::string& path = submission.values.file;
  if (!path.empty()) {
    ASSIGN_OR_RETURN(file, ReadJobFile(path));
    RETURN_IF_ERROR(CheckTask(file.job, evaluate, path));
    submission.spec_path = file.spec_path;
  }
  ASSIGN_OR_RETURN(submission.jobs, JobsFromFlags(submission.flags, submission.values, file.job,
                                                  StudyNameFor(submission.request_id)));
  for (v1::Job& job : submission.jobs) {
    evaluate ? (void)job.mutable_spec()->mutable_evaluate()
             : (void)job.mutable_spec()->mutable_fine_tune();
  }
  return absl::OkStatus();
}

namespace {

// What can be said of a job without the server.
absl::Status CheckHere(const Submission& submission, size_t index) {
  const v1::Job& job = submission.jobs[index];
  RETURN_IF_ERROR(CheckFolders(job));
  v1::CreateJobRequest request = CreationOf(submission, index);
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

}  // namespace

absl::Status Prepare(CliContext& context, Submission& submission, DataFiles& files) {
  const auto for_each_job = [&](const auto& check) -> absl::Status {
    for (size_t i = 0; i < submission.jobs.size(); ++i) {
      const absl::Status checked = check(i);
      if (!checked.ok()) return InTheirWords(submission, checked, submission.jobs[i]);
    }
    return absl::OkStatus();
  };
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

void PrintRepetition(const absl::Status& status, const std::string& request_id) {
  if (!IsUnreachable(status)) return;
  std::fprintf(stderr,
               "graft: to repeat this command without making anything twice, give it "
               "--request-id %s\n",
               request_id.c_str());
}

std::string StudyNameFor(const std::string& request_id) {
  return absl::StrCat("study-", Sha256Hex(request_id).substr(0, 8));
}

}  // namespace graft
