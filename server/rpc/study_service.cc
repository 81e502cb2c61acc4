#include "server/rpc/study_service.h"

#include <algorithm>
#include <utility>

#include "common/base/status_macros.h"
#include "common/base/usable_cores.h"
#include "common/errors/status_details.h"
#include "common/jobs/job_spec.h"
#include "common/jobs/names.h"
#include "server/catalogue/deleted_jobs.h"
#include "server/catalogue/file_chunks.h"
#include "server/catalogue/lookup.h"
#include "server/catalogue/study_trials.h"
#include "server/rpc/streams.h"
#include "server/rpc/study_watch.h"

namespace graft {

using grpc::CallbackServerContext;
using grpc::ServerUnaryReactor;

namespace {

constexpr char kStudyPath[] = "study";  // In CreateStudyRequest.
constexpr char kTemplatePath[] = "study.spec_template";

// One number for all trials, as their sums depend on it: that of the worker with the fewest, else
// what this machine has.
int ThreadsOfTrials(WorkerHub& hub) {
  int fewest = 0;
  for (const WorkerHub::WorkerView& worker : hub.workers()) {
    if (worker.serves_only || worker.engine_threads <= 0) continue;
    fewest = fewest == 0 ? worker.engine_threads : std::min(fewest, worker.engine_threads);
  }
  return fewest > 0 ? fewest : UsableCores();
}

// A verb about one study, which it answers with.
template <typename Request>
absl::Status ChangeStudy(ServiceContext& context, const Request& request, v1::Study* response,
                         absl::StatusOr<v1::Study> (StudyStore::*act)(absl::string_view,
                                                                      const RequestKey&)) {
  ASSIGN_OR_RETURN(const std::string id, ParseStudyId(request.name()));
  RETURN_IF_ERROR(ValidateRequestId(request.request_id()));
  ASSIGN_OR_RETURN(*response, (context.store.*act)(StudyName(id), RequestKeyOf(request)));
  return absl::OkStatus();
}

template <typename Request>
ServerUnaryReactor* AnswerWithStudy(
    ServiceContext& context, CallbackServerContext* call, const Request* request,
    const CallInfo& info, v1::Study* response,
    absl::StatusOr<v1::Study> (StudyStore::*act)(absl::string_view, const RequestKey&)) {
  return context.runtime.Unary(call, *request, info, [=, &context](const Caller&) {
    return ChangeStudy(context, *request, response, act);
  });
}

}  // namespace

ServerUnaryReactor* StudyService::CreateStudy(CallbackServerContext* call,
                                              const v1::CreateStudyRequest* request,
                                              v1::Study* response) {
  // Up to a thousand specs are resolved, and data may have to be read.
  return context_.runtime.Unary(
      call, *request, {"StudyService.CreateStudy", "studies.create", "", Lane::kCheck},
      [=, this](const Caller& caller) -> absl::Status {
        ASSIGN_OR_RETURN(*response,
                         Create(*request, JudgeIn(context_, Lane::kCheck, caller, kTemplatePath)));
        return absl::OkStatus();
      });
}

absl::StatusOr<v1::Study> StudyService::Create(const v1::CreateStudyRequest& sent,
                                               const DataJudge& judge) {
  v1::CreateStudyRequest request = sent;
  request.DiscardUnknownFields();
  RETURN_IF_ERROR(ValidateRequestId(request.request_id()));
  request.clear_validate_only();
  const RequestKey key = RequestKeyOf(request);
  // A request that was answered is answered, whatever has become of what it names.
  absl::StatusOr<v1::Study> answered = context_.store.FindInsertedStudy(key);
  if (!absl::IsNotFound(answered.status())) return answered;
  SpecDefaults defaults = context_.options.spec_defaults;
  if (defaults.threads == 0) defaults.threads = ThreadsOfTrials(context_.hub);
  ASSIGN_OR_RETURN(NewStudy study,
                   MakeStudy(context_.catalogue, request.study(), defaults, kStudyPath));
  study.request = key;
  for (const v1::Job& job : study.jobs) {
    RETURN_IF_ERROR(judge(job.resolved_spec()).value_or(absl::OkStatus()));
  }
  if (!sent.validate_only()) return context_.store.InsertStudy(study);
  RETURN_IF_ERROR(context_.store.CheckStudy(study));
  return std::move(study.study);
}

ServerUnaryReactor* StudyService::GetStudy(CallbackServerContext* call,
                                           const v1::GetStudyRequest* request,
                                           v1::Study* response) {
  return context_.runtime.Unary(
      call, *request, {"StudyService.GetStudy", "studies.get", request->name()},
      [=, this](const Caller&) -> absl::Status {
        ASSIGN_OR_RETURN(const std::string id, ParseStudyId(request->name()));
        ASSIGN_OR_RETURN(*response, context_.store.GetStudy(StudyName(id)));
        return absl::OkStatus();
      });
}

ServerUnaryReactor* StudyService::ListStudies(CallbackServerContext* call,
                                              const v1::ListStudiesRequest* request,
                                              v1::ListStudiesResponse* response) {
  return context_.runtime.Unary(
      call, *request, {"StudyService.ListStudies", "studies.list", ""},
      [=, this](const Caller&) -> absl::Status {
        RETURN_IF_ERROR(CheckPaging(request->page_size(), request->page_token()));
        ASSIGN_OR_RETURN(Page<v1::Study> page,
                         context_.store.ListStudies(request->page_size(), request->page_token()));
        for (v1::Study& study : page.items) *response->add_studies() = std::move(study);
        response->set_next_page_token(page.next_page_token);
        return absl::OkStatus();
      });
}

grpc::ServerWriteReactor<v1::WatchStudyResponse>* StudyService::WatchStudy(
    CallbackServerContext* call, const v1::WatchStudyRequest* request) {
  return new ServerStream<v1::WatchStudyResponse>(
      context_.runtime, call, *request,
      {"StudyService.WatchStudy", "studies.watch", request->name(), Lane::kShort, /*endless=*/true},
      [this, request](const Caller&, std::shared_ptr<StreamWaker> waker)
          -> absl::StatusOr<std::unique_ptr<MessageSource<v1::WatchStudyResponse>>> {
        return StudyWatchSource::Open(context_.store, context_.ticker, context_.clock,
                                      context_.options.watch_heartbeat, *request, std::move(waker));
      });
}

ServerUnaryReactor* StudyService::PauseStudy(CallbackServerContext* call,
                                             const v1::PauseStudyRequest* request,
                                             v1::Study* response) {
  return AnswerWithStudy(context_, call, request,
                         {"StudyService.PauseStudy", "studies.pause", request->name()}, response,
                         &StudyStore::PauseStudy);
}

ServerUnaryReactor* StudyService::ResumeStudy(CallbackServerContext* call,
                                              const v1::ResumeStudyRequest* request,
                                              v1::Study* response) {
  return context_.runtime.Unary(
      call, *request, {"StudyService.ResumeStudy", "studies.resume", request->name()},
      [=, this](const Caller&) -> absl::Status {
        RETURN_IF_ERROR(ChangeStudy(context_, *request, response, &StudyStore::ResumeStudy));
        // Its trials may all have ended while it was paused: no job will tell of it any more.
        context_.study_loop->Wake(response->name());
        return absl::OkStatus();
      });
}

ServerUnaryReactor* StudyService::CancelStudy(CallbackServerContext* call,
                                              const v1::CancelStudyRequest* request,
                                              v1::Study* response) {
  return AnswerWithStudy(context_, call, request,
                         {"StudyService.CancelStudy", "studies.cancel", request->name()}, response,
                         &StudyStore::CancelStudy);
}

ServerUnaryReactor* StudyService::DeleteStudy(CallbackServerContext* call,
                                              const v1::DeleteStudyRequest* request,
                                              google::protobuf::Empty* /*response*/) {
  return context_.runtime.Unary(
      call, *request, {"StudyService.DeleteStudy", "studies.delete", request->name()},
      [=, this](const Caller&) -> absl::Status {
        ASSIGN_OR_RETURN(const std::string id, ParseStudyId(request->name()));
        return Delete(StudyName(id));
      });
}

// Job by job: broken off, it goes on when it is asked again.
absl::Status StudyService::Delete(const std::string& name) {
  ASSIGN_OR_RETURN(const v1::Study study, context_.store.GetStudy(name));
  if (study.done()) {
    for (const v1::Trial& trial : study.trials()) {
      if (trial.job().empty()) continue;
      const absl::StatusOr<DeletedJob> deleted =
          context_.store.DeleteJob(trial.job(), /*delete_adapter=*/true, {});
      if (absl::IsNotFound(deleted.status())) continue;
      RETURN_IF_ERROR(deleted.status());
      ForgetDeleted({*deleted}, context_.catalogue.publisher, context_.logs);
    }
  }
  return context_.store.DeleteStudy(name);
}

}  // namespace graft
