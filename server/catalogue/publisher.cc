#include "server/catalogue/publisher.h"

#include <unistd.h>

#include <algorithm>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "common/base/file.h"
#include "common/base/sha256.h"
#include "common/base/status_macros.h"
#include "common/formats/safetensors.h"
#include "common/jobs/artifacts.h"
#include "common/jobs/names.h"
#include "common/methods/method_spec.h"
#include "common/rpc/status.h"
#include "common/telemetry/log.h"
#include "server/catalogue/event_files.h"
#include "server/catalogue/model_description.h"

namespace graft {
namespace {

constexpr int kRefreshPage = 200;

// A view is named by what it shows and as what, so that two adapters of the same content do not
// share one.
std::string UidOf(absl::string_view name, absl::string_view manifest_sha256) {
  return Sha256Hex(absl::StrCat(name, "\n", manifest_sha256));
}

void LogTrouble(absl::string_view what, absl::string_view name, const absl::Status& status) {
  if (status.ok()) return;
  Log(LogLevel::kWarning, what, {{"name", std::string(name)}, {"error", status.ToString()}});
}

int64_t TotalBytes(const std::vector<ManifestFile>& files) {
  int64_t total = 0;
  for (const ManifestFile& file : files) total += file.size_bytes;
  return total;
}

bool IsBroken(const absl::Status& status) {
  return absl::IsInvalidArgument(status) || absl::IsDataLoss(status);
}

}  // namespace

Publisher::Publisher(std::string root, JobStore& store, FileBlobStore& blobs,
                     ViewPublisher adapters, ViewPublisher models, ViewPublisher evaluations,
                     ViewPublisher staging)
    : root_(std::move(root)),
      store_(store),
      blobs_(blobs),
      adapters_(std::move(adapters)),
      models_(std::move(models)),
      evaluations_(std::move(evaluations)),
      staging_(std::move(staging)) {}

absl::StatusOr<std::unique_ptr<Publisher>> Publisher::Open(const std::string& root, JobStore& store,
                                                           FileBlobStore& blobs) {
  // What an import left here when the server was killed.
  RETURN_IF_ERROR(RemoveTree(JoinPath(root, "staging")));
  ASSIGN_OR_RETURN(ViewPublisher adapters, ViewPublisher::Open(JoinPath(root, "adapters"), blobs));
  ASSIGN_OR_RETURN(ViewPublisher models, ViewPublisher::Open(JoinPath(root, "models"), blobs));
  ASSIGN_OR_RETURN(ViewPublisher evaluations,
                   ViewPublisher::Open(JoinPath(root, "evaluations"), blobs));
  ASSIGN_OR_RETURN(ViewPublisher staging, ViewPublisher::Open(JoinPath(root, "staging"), blobs));
  return std::unique_ptr<Publisher>(new Publisher(root, store, blobs, std::move(adapters),
                                                  std::move(models), std::move(evaluations),
                                                  std::move(staging)));
}

absl::Status Publisher::CheckUploaded(const std::vector<v1::Artifact>& files) const {
  const std::vector<ManifestFile> manifest = ToManifest(files);
  RETURN_IF_ERROR(CheckManifest(manifest));
  for (const ManifestFile& file : manifest) {
    absl::StatusOr<BlobInfo> blob = blobs_.Keep(file.sha256);
    const absl::Status verified = blob.ok() ? blobs_.Verify(file.sha256) : blob.status();
    if (absl::IsNotFound(verified)) {
      return absl::FailedPreconditionError(
          absl::StrCat(file.path, ": blob ", file.sha256, " was not uploaded"));
    }
    if (absl::IsDataLoss(verified)) {
      return absl::FailedPreconditionError(
          absl::StrCat(file.path, ": ", verified.message(), "; upload it again"));
    }
    RETURN_IF_ERROR(Annotate(verified, file.path));
    if (blob->size_bytes != file.size_bytes) {
      return absl::FailedPreconditionError(absl::StrCat(
          file.path, ": has ", blob->size_bytes, " bytes, not ", file.size_bytes, " as said"));
    }
  }
  return absl::OkStatus();
}

absl::Status Publisher::CheckSafetensors(const std::vector<ManifestFile>& files) const {
  for (const ManifestFile& file : files) {
    if (!absl::EndsWith(file.path, ".safetensors")) continue;
    ASSIGN_OR_RETURN(const std::string path, blobs_.PathOf(file.sha256));
    const absl::Status opened = SafetensorsFile::Open(path).status();
    if (opened.ok()) continue;
    // Of the two names of the file the blob's says nothing to people.
    return absl::Status(opened.code(), absl::StrReplaceAll(opened.message(), {{path, file.path}}));
  }
  return absl::OkStatus();
}

absl::StatusOr<AttemptOutcome> Publisher::PrepareOutcome(
    const LeaseRef& lease, const worker::v1::FinishAttemptRequest::Succeeded& reported,
    const Gone& gone) {
  ASSIGN_OR_RETURN(const v1::Job job, store_.GetJob(lease.job));
  ASSIGN_OR_RETURN(const std::vector<LeaseRenewal> renewed,
                   store_.RenewLeases(lease.worker, {{lease.job, lease.lease_epoch}}));
  // The call came before, or too late: the store answers what it answered then, or says so.
  if (job.done() || !renewed[0].held) {
    return AttemptOutcome(AttemptSucceeded{.result = reported.result()});
  }
  absl::StatusOr<AttemptSucceeded> prepared = Prepare(job, reported, gone);
  if (prepared.ok()) return AttemptOutcome(*std::move(prepared));
  if (!IsBroken(prepared.status())) return prepared.status();
  // The worker cannot mend it by trying again: the job has failed.
  const absl::Status broken = Annotate(prepared.status(), "the engine's output is broken");
  return AttemptOutcome(AttemptFailed{ToRpcStatus(broken), v1::FAILURE_CLASS_INTERNAL});
}

absl::StatusOr<AttemptSucceeded> Publisher::Prepare(
    const v1::Job& job, const worker::v1::FinishAttemptRequest::Succeeded& reported,
    const Gone& gone) {
  RETURN_IF_ERROR(CheckUploaded({reported.output().begin(), reported.output().end()}));
  RETURN_IF_ERROR(CheckUploaded({reported.artifacts().begin(), reported.artifacts().end()}));
  const std::vector<ManifestFile> artifacts = ToManifest(reported.artifacts());
  AttemptSucceeded outcome;
  outcome.result = reported.result();
  ASSIGN_OR_RETURN(const std::vector<ManifestFile> event_files,
                   MakeEventFiles(store_, blobs_, job, reported.result().best_step(), gone));
  for (const ManifestFile& file : artifacts) outcome.artifacts.push_back(ToArtifact(file));
  for (const ManifestFile& file : event_files) outcome.artifacts.push_back(ToArtifact(file));
  if (!job.resolved_spec().has_fine_tune()) {
    ASSIGN_OR_RETURN(const std::string id, ParseJobId(job.name()));
    if (artifacts.empty()) return outcome;
    RETURN_IF_ERROR(evaluations_.Prepare(UidOf(id, ManifestSha256(artifacts)), artifacts));
    return outcome;
  }

  std::vector<ManifestFile> output = ToManifest(reported.output());
  if (output.empty()) return absl::InvalidArgumentError("the job left no files");
  RETURN_IF_ERROR(CheckSafetensors(output));
  RETURN_IF_ERROR(CheckWanted(gone));
  if (MakesModel(job.resolved_spec().fine_tune().method())) {
    RETURN_IF_ERROR(WithFolder(output, [&](const std::string& folder) -> absl::Status {
      ASSIGN_OR_RETURN(outcome.model, DescribeModel(folder, output));
      return absl::OkStatus();
    }));
    return outcome;
  }
  output.insert(output.end(), event_files.begin(), event_files.end());
  RETURN_IF_ERROR(CheckManifest(output));
  v1::Adapter adapter;
  for (const ManifestFile& file : output) *adapter.add_files() = ToArtifact(file);
  adapter.set_size_bytes(TotalBytes(output));
  adapter.set_sha256(ManifestSha256(output));
  adapter.set_trainable_parameters(reported.result().trainable_parameters());
  *adapter.mutable_metrics() = reported.result().metrics();
  adapter.set_peft_snippet(reported.peft_snippet());
  // Whoever sees the end of the job finds the directory: after the commit only its name is missing.
  RETURN_IF_ERROR(adapters_.Prepare(
      UidOf(job.resolved_spec().fine_tune().output_name(), adapter.sha256()), output));
  outcome.adapter = std::move(adapter);
  return outcome;
}

absl::Status Publisher::WithFolder(
    const std::vector<ManifestFile>& files,
    const std::function<absl::Status(const std::string& folder)>& use) {
  std::string uid;
  {
    MutexLock lock(mutex_);
    uid = absl::StrCat("s", next_staging_++);
  }
  const absl::Cleanup remove = [&] {
    LogTrouble("cannot remove a staging folder", uid, staging_.Remove(uid, uid));
  };
  RETURN_IF_ERROR(staging_.Publish(uid, uid, files));
  const std::string folder = staging_.PathOf(uid);
  const absl::Status used = use(folder);
  // Callers know their files by the names they gave them.
  return absl::Status(used.code(), absl::StrReplaceAll(used.message(), {{folder + "/", ""},
                                                                        {folder, "the folder"}}));
}

absl::Status Publisher::NoteShown(const absl::Status& shown) {
  if (!shown.ok()) incomplete_ = true;
  return shown;
}

absl::Status Publisher::Show(const v1::Adapter& adapter) {
  MutexLock lock(mutex_);
  const std::string uid = UidOf(adapter.name(), adapter.sha256());
  const std::vector<ManifestFile> files = ToManifest(adapter.files());
  if (adapters_.IsWhole(uid, adapter.name(), files)) return absl::OkStatus();
  return NoteShown(adapters_.Publish(uid, adapter.name(), files));
}

absl::Status Publisher::Show(const v1::Model& model) {
  MutexLock lock(mutex_);
  const std::string uid = UidOf(model.name(), model.sha256());
  const std::vector<ManifestFile> files = ToManifest(model.files());
  if (models_.IsWhole(uid, model.name(), files)) return absl::OkStatus();
  return NoteShown(models_.Publish(uid, model.name(), files));
}

absl::StatusOr<std::string> Publisher::DirectoryOf(const v1::Model& model) {
  RETURN_IF_ERROR(Show(model));
  for (const v1::Artifact& file : model.files()) {
    if (absl::EndsWith(file.path(), ".safetensors")) continue;
    RETURN_IF_ERROR(Annotate(blobs_.Verify(file.sha256()), file.path()));
  }
  return models_.PathOf(UidOf(model.name(), model.sha256()));
}

std::string Publisher::AdapterDirectory(absl::string_view name) const {
  return JoinPath(JoinPath(root_, "adapters"), name);
}

void Publisher::ShowResult(const std::string& job_name) {
  const absl::StatusOr<v1::Job> job = store_.GetJob(job_name);
  if (!job.ok()) return LogTrouble("cannot show a result", job_name, NoteShown(job.status()));
  if (!job->result().adapter().empty()) {
    const absl::StatusOr<v1::Adapter> adapter = store_.GetAdapter(job->result().adapter());
    LogTrouble("cannot show an adapter", job_name,
               adapter.ok() ? Show(*adapter) : NoteShown(adapter.status()));
  }
  if (!job->result().model().empty()) {
    const absl::StatusOr<v1::Model> model = store_.GetModel(job->result().model());
    LogTrouble("cannot show a model", job_name,
               model.ok() ? Show(*model) : NoteShown(model.status()));
  }
  if (job->resolved_spec().has_evaluate()) ShowEvaluation(job_name);
}

void Publisher::ShowEvaluation(const std::string& job) {
  const absl::StatusOr<std::vector<v1::Artifact>> artifacts = store_.ListArtifacts(job);
  if (!artifacts.ok()) {
    return LogTrouble("cannot show an evaluation", job, NoteShown(artifacts.status()));
  }
  if (artifacts->empty()) return;
  const std::vector<ManifestFile> files = ToManifest(*artifacts);
  const absl::StatusOr<std::string> id = ParseJobId(job);
  if (!id.ok()) return LogTrouble("cannot show an evaluation", job, id.status());
  const std::string uid = UidOf(*id, ManifestSha256(files));
  MutexLock lock(mutex_);
  if (evaluations_.IsWhole(uid, *id, files)) return;
  LogTrouble("cannot show an evaluation", job, NoteShown(evaluations_.Publish(uid, *id, files)));
}

void Publisher::Drop(const ViewPublisher& views, const std::string& kind, const std::string& name) {
  if (!IsSafeFileName(name)) return;
  char target[256];
  const std::string link = JoinPath(JoinPath(root_, kind), name);
  const ssize_t length = ::readlink(link.c_str(), target, sizeof(target) - 1);
  // Only what this server made: a link to ".by-uid/<uid>".
  if (length <= 0) return;
  const std::string uid = BaseName(absl::string_view(target, length));
  LogTrouble("cannot remove a directory", name, views.Remove(uid, name));
}

void Publisher::Hide(const std::string& name) {
  // The lock is held from the question to the removal, so that what is made meanwhile is shown
  // after it.
  MutexLock lock(mutex_);
  if (absl::IsNotFound(store_.GetAdapter(name).status())) Drop(adapters_, "adapters", name);
  if (absl::IsNotFound(store_.GetModel(name).status())) Drop(models_, "models", name);
  if (absl::IsNotFound(store_.GetJob(JobName(name)).status())) {
    Drop(evaluations_, "evaluations", name);
  }
}

void Publisher::Refresh() {
  incomplete_ = false;
  std::string token;
  do {
    const auto page = store_.ListAdapters({}, kRefreshPage, token);
    if (!page.ok()) return LogTrouble("cannot list adapters", "", NoteShown(page.status()));
    for (const v1::Adapter& adapter : page->items) {
      LogTrouble("cannot show an adapter", adapter.name(), Show(adapter));
    }
    token = page->next_page_token;
  } while (!token.empty());
  do {
    const auto page = store_.ListModels(kRefreshPage, token);
    if (!page.ok()) return LogTrouble("cannot list models", "", NoteShown(page.status()));
    for (const v1::Model& model : page->items) {
      LogTrouble("cannot show a model", model.name(), Show(model));
    }
    token = page->next_page_token;
  } while (!token.empty());
  RefreshEvaluations();
  for (const char* kind : {"adapters", "models", "evaluations"}) {
    const auto shown = ListDirectory(JoinPath(root_, kind));
    if (!shown.ok()) return LogTrouble("cannot list", kind, shown.status());
    for (const std::string& name : *shown) Hide(name);
  }
  MutexLock lock(mutex_);
  for (const ViewPublisher* views : {&adapters_, &models_, &evaluations_}) {
    LogTrouble("cannot remove unnamed directories", "", views->RemoveUnnamed());
  }
}

void Publisher::RefreshEvaluations() {
  JobQuery query;
  query.filter.method = "evaluate";
  query.filter.state = v1::JOB_STATE_SUCCEEDED;
  query.page_size = kRefreshPage;
  do {
    const auto page = store_.ListJobs(query);
    if (!page.ok()) return LogTrouble("cannot list evaluations", "", NoteShown(page.status()));
    for (const v1::Job& job : page->items) ShowEvaluation(job.name());
    query.page_token = page->next_page_token;
  } while (!query.page_token.empty());
}

}  // namespace graft
