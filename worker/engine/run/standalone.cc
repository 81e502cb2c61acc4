#include "worker/engine/run/standalone.h"

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "common/jobs/timestamps.h"
#include "worker/engine/run/job_run.h"
#include "worker/engine/run/local_facts.h"
#include "worker/engine/run/metric_log.h"
#include "worker/engine/run/proto_sink.h"
#include "worker/engine/run/result_files.h"
#include "worker/engine/run/spec_bridge.h"
#include "worker/engine/session/session.h"

namespace graft {
namespace {

std::string ResultName(const v1::JobSpec& spec) {
  if (spec.has_evaluate()) return "artifacts";
  return spec.fine_tune().method().has_full() ? "model" : "adapter";
}

// An evaluation that was ended leaves its directory behind, without results.json, which is written
// last; what it had predicted must not pass for the next one's.
absl::Status CheckNoResult(const std::string& output, const v1::JobSpec& spec) {
  const std::string result = JoinPath(output, ResultName(spec));
  const std::string predictions = JoinPath(result, "predictions.jsonl");
  const bool holds_result = spec.has_evaluate() ? FileExists(JoinPath(result, kResultsJson))
                                                : FileExists(result) || DirectoryExists(result);
  if (holds_result) {
    return absl::FailedPreconditionError(absl::StrCat(
        result, ": holds the result of an earlier run; give another --out, or remove it"));
  }
  return spec.has_evaluate() && FileExists(predictions) ? RemoveFile(predictions)
                                                        : absl::OkStatus();
}

// The newest checkpoint's directory; empty when there is none.
absl::StatusOr<std::string> NewestCheckpoint(const std::string& directory) {
  if (!DirectoryExists(directory)) return std::string();
  ASSIGN_OR_RETURN(const std::vector<std::string> names, ListDirectory(directory));
  int64_t newest = -1;
  for (const std::string& name : names) {
    int64_t step = 0;
    if (absl::SimpleAtoi(name, &step)) newest = std::max(newest, step);
  }
  return newest < 0 ? std::string() : JoinPath(directory, absl::StrCat(newest));
}

// Numbers the events and hands them on.
class EventLog {
 public:
  explicit EventLog(const std::function<void(const v1::JobEvent&)>& on_event)
      : on_event_(on_event) {}

  void Add(v1::JobEvent event) {
    event.set_sequence(++sequence_);
    event.set_attempt(1);
    const absl::Status kept = metrics_.Add(event);
    on_event_(event);
    if (!kept.ok()) Add(WarningToProto("METRICS_NOT_KEPT", std::string(kept.message())));
  }
  MetricLog& metrics() { return metrics_; }

 private:
  const std::function<void(const v1::JobEvent&)>& on_event_;
  int64_t sequence_ = 0;
  MetricLog metrics_;
};

v1::JobEvent FinalEvent(const engine::v1::Finished& finished) {
  v1::JobEvent event;
  *event.mutable_create_time() = ToTimestamp(absl::Now());
  v1::StateChange& change = *event.mutable_state_change();
  change.set_from(v1::JOB_STATE_RUNNING);
  const auto code = static_cast<absl::StatusCode>(finished.status().code());
  if (code == absl::StatusCode::kOk) {
    change.set_to(v1::JOB_STATE_SUCCEEDED);
  } else if (code == absl::StatusCode::kCancelled) {
    change.set_to(v1::JOB_STATE_CANCELLED);
  } else {
    change.set_to(v1::JOB_STATE_FAILED);
    change.set_reason(finished.status().message());
    *change.mutable_error() = finished.status();
    change.set_failure_class(finished.failure_class());
  }
  return event;
}

// Beside the checkpoints, so that both go together.
absl::Status KeepMetrics(const engine::v1::Run& run, MetricLog& metrics) {
  int64_t last_step = 0;  // Without a checkpoint the run begins anew.
  (void)absl::SimpleAtoi(BaseName(run.checkpoint_directory()), &last_step);
  return metrics.KeepIn(
      JoinPath(JoinPath(run.work_directory(), "checkpoints"), "metrics.events.jsonl"), last_step);
}

absl::StatusOr<engine::v1::Finished> RunPrepared(const StandaloneOptions& options,
                                                 const engine::v1::Run& run, EventLog& log,
                                                 StopToken& stop) {
  const bool fine_tunes = run.resolved_spec().has_fine_tune();
  if (fine_tunes) RETURN_IF_ERROR(KeepMetrics(run, log.metrics()));
  ASSIGN_OR_RETURN(const std::unique_ptr<EngineSession> session,
                   EngineSession::Create({options.device, options.threads}));
  ProtoEventSink sink({[&](v1::JobEvent event) { log.Add(std::move(event)); }, nullptr, nullptr});
  engine::v1::Finished finished = RunJob(run, *session, sink, stop);
  if (finished.status().code() != 0 || !fine_tunes) return finished;
  const std::string output = JoinPath(options.output, "output");
  RETURN_IF_ERROR(log.metrics().Write(output, run.resolved_spec().fine_tune()));
  RETURN_IF_ERROR(RenameAndSync(output, JoinPath(options.output, ResultName(run.resolved_spec()))));
  return finished;
}

}  // namespace

absl::StatusOr<engine::v1::Run> PrepareStandaloneRun(const StandaloneOptions& options) {
  engine::v1::Run run;
  ASSIGN_OR_RETURN(LocalJob job, ResolveLocally(options));
  RETURN_IF_ERROR(CheckNoResult(options.output, job.resolved));
  RETURN_IF_ERROR(CreateDirectories(options.output));
  RETURN_IF_ERROR(RemoveTree(JoinPath(options.output, "output")));  // Of a run that was ended.
  const std::string checkpoints = JoinPath(options.output, "checkpoints");
  if (options.resume) {
    ASSIGN_OR_RETURN(*run.mutable_checkpoint_directory(), NewestCheckpoint(checkpoints));
  } else {
    RETURN_IF_ERROR(RemoveTree(checkpoints));
  }
  *run.mutable_resolved_spec() = std::move(job.resolved);
  run.set_base_model_directory(job.base_model);
  run.set_base_model_name(job.base_model);
  run.set_adapter_directory(job.adapter);
  run.set_train_file(job.train);
  run.set_validation_file(job.validation);
  run.set_work_directory(options.output);
  run.set_cache_directory(options.cache.empty() ? JoinPath(options.output, "cache")
                                                : options.cache);
  run.set_attempt(1);
  return run;
}

engine::v1::Finished RunStandalone(const StandaloneOptions& options,
                                   const std::function<void(const v1::JobEvent&)>& on_event,
                                   StopToken& stop) {
  EventLog log(on_event);
  engine::v1::Finished finished;
  absl::StatusOr<engine::v1::Run> run = PrepareStandaloneRun(options);
  absl::StatusOr<engine::v1::Finished> ran =
      run.ok() ? RunPrepared(options, *run, log, stop) : run.status();
  finished = ran.ok() ? *std::move(ran) : FailedToRun(ran.status());
  log.Add(FinalEvent(finished));
  return finished;
}

}  // namespace graft
