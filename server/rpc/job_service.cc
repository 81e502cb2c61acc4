#include "server/rpc/job_service.h"

#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/status_macros.h"
#include "common/errors/status_details.h"
#include "common/jobs/job_filter.h"
#include "common/jobs/job_spec.h"
#include "common/jobs/method.h"
#include "common/jobs/names.h"
#include "common/jobs/timestamps.h"
#include "common/telemetry/log.h"
#include "server/catalogue/checkpoint_download.h"
#include "server/catalogue/deleted_jobs.h"
#include "server/catalogue/file_chunks.h"
#include "server/catalogue/log_source.h"
#include "server/catalogue/lookup.h"
#include "server/rpc/streams.h"

namespace graft {

using grpc::CallbackServerContext;
using grpc::ServerUnaryReactor;

namespace {

// Of the spec in CreateJobRequest.
constexpr char kSpecPath[] = "job.spec";

// A data set that was not found has no hash.
NewJob WithoutMissingData(NewJob job) {
  v1::JobSpec& spec = *job.job.mutable_resolved_spec();
  v1::DataSpec& data = spec.has_evaluate() ? *spec.mutable_evaluate()->mutable_data()
                                           : *spec.mutable_fine_tune()->mutable_data();
  if (data.train_sha256().empty()) data.clear_train();
  if (data.validation_sha256().empty()) data.clear_validation();
  return job;
}

// A job that none of those who are there can take would wait without a word.
void SayWhyItWaits(const Scheduler& scheduler, const JobNeeds& needs, v1::Job& job) {
  const std::string why = scheduler.WhyItWaits(needs);
  if (!why.empty()) job.set_state_reason(absl::StrCat(job.state_reason(), "; ", why));
}

// A verb about one job, which it answers with.
template <typename Request>
ServerUnaryReactor* AnswerWithJob(ServiceContext& context, CallbackServerContext* call,
                                  const Request* request, const CallInfo& info, v1::Job* response,
                                  absl::StatusOr<v1::Job> (*act)(JobStore&, const std::string&,
                                                                 const Request&)) {
  const std::string name = info.resource;
  return context.runtime.Unary(call, *request, info, [=, &context](const Caller&) -> absl::Status {
    ASSIGN_OR_RETURN(const std::string id, ParseJobId(name));
    RETURN_IF_ERROR(ValidateRequestId(request->request_id()));
    ASSIGN_OR_RETURN(*response, act(context.store, JobName(id), *request));
    return absl::OkStatus();
  });
}

// What a valid request asks for.
JobUpdate ToUpdate(const v1::UpdateJobRequest& request) {
  const v1::Job& job = request.job();
  JobUpdate update;
  update.etag = job.etag();
  for (const std::string& path : request.update_mask().paths()) {
    if (path == "display_name") update.display_name = job.display_name();
    if (path == "priority") update.priority = job.priority();
    if (path == "allow_migration") update.allow_migration = job.allow_migration();
    if (path == "deadline") {
      update.deadline = job.has_deadline() ? FromTimestamp(job.deadline()) : absl::InfiniteFuture();
    }
    if (path == "labels") {
      update.clear_labels = true;
      for (const auto& [key, value] : job.labels()) update.labels[key] = value;
    } else if (absl::StartsWith(path, kLabelPath)) {
      const std::string key = path.substr(sizeof(kLabelPath) - 1);
      const auto found = job.labels().find(key);
      if (found == job.labels().end()) {
        update.labels[key] = std::nullopt;
      } else {
        update.labels[key] = found->second;
      }
    }
  }
  return update;
}

}  // namespace

grpc::ServerUnaryReactor* JobService::CreateJob(CallbackServerContext* call,
                                                const v1::CreateJobRequest* request,
                                                v1::Job* response) {
  return context_.runtime.Unary(
      call, *request, {"JobService.CreateJob", "jobs.create", ""}, Lane::kCheck,
      [=, this](const Caller& caller, Lane lane) -> std::optional<absl::Status> {
        absl::StatusOr<std::optional<v1::Job>> created =
            Create(*request, JudgeIn(context_, lane, caller, kSpecPath));
        if (!created.ok()) return created.status();
        if (!created->has_value()) return std::nullopt;
        *response = **std::move(created);
        return absl::OkStatus();
      });
}

absl::StatusOr<std::optional<v1::Job>> JobService::Create(const v1::CreateJobRequest& sent,
                                                          const DataJudge& judge) {
  // What a newer client says beyond what is known here is neither obeyed nor kept.
  v1::CreateJobRequest request = sent;
  request.DiscardUnknownFields();
  RETURN_IF_ERROR(ValidateCreateJob(request));
  request.clear_validate_only();
  const RequestKey key = RequestKeyOf(request);
  absl::StatusOr<std::optional<v1::Job>> created =
      CreateNew(request.job(), key, sent.validate_only(), judge);
  if (created.ok() && created->has_value() && !sent.validate_only()) return created;
  // A request that was answered is answered alike, even if what it names has gone since or is taken
  // by the job that it made; so it is valid, too. InsertJob has looked for itself.
  absl::StatusOr<v1::Job> answered = context_.store.FindInserted(key);
  if (absl::IsNotFound(answered.status())) return created;
  RETURN_IF_ERROR(answered.status());
  return *std::move(answered);
}

absl::StatusOr<std::optional<v1::Job>> JobService::CreateNew(const v1::Job& asked,
                                                             const RequestKey& key,
                                                             bool validate_only,
                                                             const DataJudge& judge) {
  NewJob job;
  job.request = key;
  job.job.set_display_name(asked.display_name());
  *job.job.mutable_labels() = asked.labels();
  job.job.set_priority(asked.priority());
  job.job.set_study(asked.study());
  if (asked.has_deadline()) *job.job.mutable_deadline() = asked.deadline();
  job.job.set_allow_migration(asked.allow_migration());
  *job.job.mutable_spec() = asked.spec();
  ASSIGN_OR_RETURN(ResolvedFromStore resolved,
                   ResolveFromStore(context_.catalogue, asked.spec(),
                                    context_.options.spec_defaults, kSpecPath));
  *job.job.mutable_resolved_spec() = std::move(resolved.spec);
  job.job.mutable_warnings()->Assign(resolved.warnings.begin(), resolved.warnings.end());
  job.job.set_method(MethodName(job.job.resolved_spec()));
  if (!resolved.missing_data.ok()) {
    // Whoever is about to upload it learns first of everything else that stands in the way.
    if (validate_only) RETURN_IF_ERROR(context_.store.CheckJob(WithoutMissingData(job)));
    return resolved.missing_data;
  }
  const std::optional<absl::Status> data = judge(job.job.resolved_spec());
  // Nothing is read for a job that would be refused all the same.
  if (!data.has_value() || validate_only) RETURN_IF_ERROR(context_.store.CheckJob(job));
  if (!data.has_value()) return std::nullopt;
  RETURN_IF_ERROR(*data);
  if (validate_only) return std::move(job.job);
  ASSIGN_OR_RETURN(v1::Job inserted, context_.store.InsertJob(job));
  return inserted;
}

grpc::ServerUnaryReactor* JobService::GetJob(CallbackServerContext* call,
                                             const v1::GetJobRequest* request, v1::Job* response) {
  return context_.runtime.Unary(
      call, *request, {"JobService.GetJob", "jobs.get", request->name()},
      [=, this](const Caller&) -> absl::Status {
        ASSIGN_OR_RETURN(const std::string id, ParseJobId(request->name()));
        ASSIGN_OR_RETURN(JobWithNeeds found, context_.store.GetJobWithNeeds(JobName(id)));
        *response = std::move(found.job);
        if (response->state() == v1::JOB_STATE_QUEUED) {
          SayWhyItWaits(context_.scheduler, found.needs, *response);
        }
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* JobService::ListJobs(CallbackServerContext* call,
                                               const v1::ListJobsRequest* request,
                                               v1::ListJobsResponse* response) {
  return context_.runtime.Unary(call, *request, {"JobService.ListJobs", "jobs.list", ""},
                                [=, this](const Caller&) { return List(*request, response); });
}

absl::Status JobService::List(const v1::ListJobsRequest& request, v1::ListJobsResponse* response) {
  RETURN_IF_ERROR(CheckPaging(request.page_size(), request.page_token()));
  JobQuery query;
  ASSIGN_OR_RETURN(query.filter, ParseJobFilter(request.filter()));
  ASSIGN_OR_RETURN(query.order, ParseJobOrder(request.order_by()));
  query.page_size = request.page_size();
  query.page_token = request.page_token();
  ASSIGN_OR_RETURN(Page<v1::Job> page, context_.store.ListJobs(query));
  for (v1::Job& job : page.items) *response->add_jobs() = std::move(job);
  response->set_next_page_token(page.next_page_token);
  return absl::OkStatus();
}

grpc::ServerWriteReactor<v1::WatchJobResponse>* JobService::WatchJob(
    CallbackServerContext* call, const v1::WatchJobRequest* request) {
  return new ServerStream<v1::WatchJobResponse>(
      context_.runtime, call, *request,
      {"JobService.WatchJob", "jobs.watch", request->name(), Lane::kShort, /*endless=*/true},
      [this, request](const Caller&, std::shared_ptr<StreamWaker> waker)
          -> absl::StatusOr<std::unique_ptr<MessageSource<v1::WatchJobResponse>>> {
        return WatchSource::Open({context_.store, context_.ticker, context_.clock, context_.queue,
                                  context_.options.watch_heartbeat},
                                 *request, std::move(waker));
      });
}

grpc::ServerUnaryReactor* JobService::CancelJob(CallbackServerContext* call,
                                                const v1::CancelJobRequest* request,
                                                v1::Job* response) {
  return AnswerWithJob<v1::CancelJobRequest>(
      context_, call, request, {"JobService.CancelJob", "jobs.cancel", request->name()}, response,
      [](JobStore& store, const std::string& name, const v1::CancelJobRequest& asked) {
        return asked.save_checkpoint() ? store.SaveAndCancelJob(name, RequestKeyOf(asked))
                                       : store.CancelJob(name, RequestKeyOf(asked));
      });
}

grpc::ServerUnaryReactor* JobService::PauseJob(CallbackServerContext* call,
                                               const v1::PauseJobRequest* request,
                                               v1::Job* response) {
  return AnswerWithJob<v1::PauseJobRequest>(
      context_, call, request, {"JobService.PauseJob", "jobs.pause", request->name()}, response,
      [](JobStore& store, const std::string& name, const v1::PauseJobRequest& asked) {
        return store.PauseJob(name, RequestKeyOf(asked));
      });
}

grpc::ServerUnaryReactor* JobService::ResumeJob(CallbackServerContext* call,
                                                const v1::ResumeJobRequest* request,
                                                v1::Job* response) {
  return AnswerWithJob<v1::ResumeJobRequest>(
      context_, call, request, {"JobService.ResumeJob", "jobs.resume", request->name()}, response,
      [](JobStore& store, const std::string& name, const v1::ResumeJobRequest& asked) {
        return store.ResumeJob(name, RequestKeyOf(asked));
      });
}

grpc::ServerUnaryReactor* JobService::CheckpointJob(CallbackServerContext* call,
                                                    const v1::CheckpointJobRequest* request,
                                                    v1::Job* response) {
  return AnswerWithJob<v1::CheckpointJobRequest>(
      context_, call, request, {"JobService.CheckpointJob", "jobs.checkpoint", request->name()},
      response,
      [](JobStore& store, const std::string& name, const v1::CheckpointJobRequest& asked) {
        return store.CheckpointJob(name, RequestKeyOf(asked));
      });
}

grpc::ServerUnaryReactor* JobService::RetryJob(CallbackServerContext* call,
                                               const v1::RetryJobRequest* request,
                                               v1::Job* response) {
  return AnswerWithJob<v1::RetryJobRequest>(
      context_, call, request, {"JobService.RetryJob", "jobs.retry", request->name()}, response,
      [](JobStore& store, const std::string& name, const v1::RetryJobRequest& asked) {
        return store.RetryJob(name, asked.from_scratch(), RequestKeyOf(asked));
      });
}

grpc::ServerUnaryReactor* JobService::UpdateJob(CallbackServerContext* call,
                                                const v1::UpdateJobRequest* request,
                                                v1::Job* response) {
  return AnswerWithJob<v1::UpdateJobRequest>(
      context_, call, request, {"JobService.UpdateJob", "jobs.update", request->job().name()},
      response,
      [](JobStore& store, const std::string& name,
         const v1::UpdateJobRequest& asked) -> absl::StatusOr<v1::Job> {
        RETURN_IF_ERROR(ValidateUpdateJob(asked));
        return store.UpdateJob(name, ToUpdate(asked), RequestKeyOf(asked));
      });
}

grpc::ServerUnaryReactor* JobService::ListJobCheckpoints(
    CallbackServerContext* call, const v1::ListJobCheckpointsRequest* request,
    v1::ListJobCheckpointsResponse* response) {
  return context_.runtime.Unary(
      call, *request, {"JobService.ListJobCheckpoints", "jobs.get", request->name()},
      [=, this](const Caller&) -> absl::Status {
        ASSIGN_OR_RETURN(const std::string id, ParseJobId(request->name()));
        ASSIGN_OR_RETURN(std::vector<v1::JobCheckpoint> checkpoints,
                         context_.store.ListCheckpoints(JobName(id)));
        response->mutable_checkpoints()->Assign(checkpoints.begin(), checkpoints.end());
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* JobService::PinJobCheckpoint(CallbackServerContext* call,
                                                       const v1::PinJobCheckpointRequest* request,
                                                       v1::JobCheckpoint* response) {
  return context_.runtime.Unary(
      call, *request, {"JobService.PinJobCheckpoint", "jobs.update", request->name()},
      [=, this](const Caller&) -> absl::Status {
        ASSIGN_OR_RETURN(*response,
                         context_.store.PinCheckpoint(request->name(), request->pinned()));
        return absl::OkStatus();
      });
}

grpc::ServerWriteReactor<v1::FileChunk>* JobService::DownloadJobCheckpoint(
    CallbackServerContext* call, const v1::DownloadJobCheckpointRequest* request) {
  return new ServerStream<v1::FileChunk>(
      context_.runtime, call, *request,
      {"JobService.DownloadJobCheckpoint", "jobs.get", request->name(), Lane::kBulk},
      [this, request](const Caller&, const std::shared_ptr<StreamWaker>&) {
        return OpenCheckpointDownload(context_.catalogue, request->name());
      });
}

grpc::ServerUnaryReactor* JobService::DeleteJob(CallbackServerContext* call,
                                                const v1::DeleteJobRequest* request,
                                                google::protobuf::Empty* response) {
  return context_.runtime.Unary(call, *request,
                                {"JobService.DeleteJob", "jobs.delete", request->name()},
                                [=, this](const Caller&) { return Delete(*request); });
}

absl::Status JobService::Delete(const v1::DeleteJobRequest& request) {
  ASSIGN_OR_RETURN(const std::string id, ParseJobId(request.name()));
  RETURN_IF_ERROR(ValidateRequestId(request.request_id()));
  ASSIGN_OR_RETURN(
      const DeletedJob deleted,
      context_.store.DeleteJob(JobName(id), request.delete_adapter(), RequestKeyOf(request)));
  ForgetDeleted({deleted}, context_.catalogue.publisher, context_.logs);
  return absl::OkStatus();
}

grpc::ServerUnaryReactor* JobService::PurgeJobs(CallbackServerContext* call,
                                                const v1::PurgeJobsRequest* request,
                                                v1::PurgeJobsResponse* response) {
  return context_.runtime.Unary(call, *request,
                                {"JobService.PurgeJobs", "jobs.delete", "", Lane::kLong},
                                [=, this](const Caller& caller) -> absl::Status {
                                  ASSIGN_OR_RETURN(*response, Purge(*request, caller.gone));
                                  return absl::OkStatus();
                                });
}

absl::StatusOr<v1::PurgeJobsResponse> JobService::Purge(const v1::PurgeJobsRequest& request,
                                                        const Gone& gone) {
  RETURN_IF_ERROR(ValidateRequestId(request.request_id()));
  if (absl::StripAsciiWhitespace(request.filter()).empty()) {
    return FieldViolation("filter", "is required; \"done = true\" finds every job that is done");
  }
  JobPurge purge;
  ASSIGN_OR_RETURN(purge.filter, ParseJobFilter(request.filter()));
  purge.force = request.force();
  purge.delete_adapters = request.delete_adapters();
  purge.request = RequestKeyOf(request);
  // A repeated call finds what the first one has done.
  ASSIGN_OR_RETURN(const OneAtATime::Turn turn,
                   purging_.Enter(purge.force ? "jobs to purge" : "what would be purged", gone));
  return context_.store.PurgeJobs(purge, [&](const std::vector<DeletedJob>& deleted) {
    ForgetDeleted(deleted, context_.catalogue.publisher, context_.logs);
    return gone() ? absl::CancelledError("nobody waits for the answer any more") : absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* JobService::ListJobArtifacts(CallbackServerContext* call,
                                                       const v1::ListJobArtifactsRequest* request,
                                                       v1::ListJobArtifactsResponse* response) {
  return context_.runtime.Unary(
      call, *request, {"JobService.ListJobArtifacts", "jobs.get", request->name()},
      [=, this](const Caller&) -> absl::Status {
        ASSIGN_OR_RETURN(const std::string id, ParseJobId(request->name()));
        ASSIGN_OR_RETURN(std::vector<v1::Artifact> artifacts,
                         context_.store.ListArtifacts(JobName(id)));
        for (v1::Artifact& artifact : artifacts) {
          *response->add_artifacts() = std::move(artifact);
        }
        return absl::OkStatus();
      });
}

grpc::ServerWriteReactor<v1::FileChunk>* JobService::DownloadJobArtifact(
    CallbackServerContext* call, const v1::DownloadJobArtifactRequest* request) {
  return new ServerStream<v1::FileChunk>(
      context_.runtime, call, *request,
      {"JobService.DownloadJobArtifact", "jobs.get", request->name(), Lane::kBulk},
      [this, request](const Caller&, const std::shared_ptr<StreamWaker>&)
          -> absl::StatusOr<std::unique_ptr<MessageSource<v1::FileChunk>>> {
        ASSIGN_OR_RETURN(const v1::Artifact artifact, FindArtifact(*request));
        return std::make_unique<FileChunkSource>(std::vector<OutgoingFile>{
            BlobFile(context_.catalogue.blobs, artifact, request->offset_bytes())});
      });
}

grpc::ServerWriteReactor<v1::JobLogChunk>* JobService::ReadJobLog(
    CallbackServerContext* call, const v1::ReadJobLogRequest* request) {
  return new ServerStream<v1::JobLogChunk>(
      context_.runtime, call, *request,
      {"JobService.ReadJobLog", "jobs.get", request->name(), Lane::kBulk,
       /*endless=*/request->follow()},
      [this, request](const Caller&, std::shared_ptr<StreamWaker> waker)
          -> absl::StatusOr<std::unique_ptr<MessageSource<v1::JobLogChunk>>> {
        return LogSource::Open(context_.store, context_.logs, *request, std::move(waker));
      });
}

absl::StatusOr<v1::Artifact> JobService::FindArtifact(
    const v1::DownloadJobArtifactRequest& request) {
  ASSIGN_OR_RETURN(const std::string id, ParseJobId(request.name()));
  ASSIGN_OR_RETURN(const std::vector<v1::Artifact> artifacts,
                   context_.store.ListArtifacts(JobName(id)));
  for (const v1::Artifact& artifact : artifacts) {
    if (artifact.path() != request.path()) continue;
    RETURN_IF_ERROR(CheckOffset(request.offset_bytes(), artifact.size_bytes()));
    return artifact;
  }
  return absl::NotFoundError(absl::StrCat(
      JobName(id), " has no artifact \"", request.path(), "\"; it has: ",
      absl::StrJoin(artifacts, ", ", [](std::string* out, const v1::Artifact& artifact) {
        absl::StrAppend(out, artifact.path());
      })));
}

}  // namespace graft
