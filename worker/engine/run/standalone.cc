#include "worker/engine/run/standalone.h"

#include <google/protobuf/util/message_differencer.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/base/machine_memory.h"
#include "common/base/process_lock.h"
#include "common/base/status_macros.h"
#include "common/formats/evaluation_files.h"
#include "common/formats/graft_json.h"
#include "common/jobs/timestamps.h"
#include "common/methods/method_spec.h"
#include "worker/engine/failure.h"
#include "worker/engine/run/job_run.h"
#include "worker/engine/run/local_facts.h"
#include "worker/engine/run/metric_log.h"
#include "worker/engine/run/proto_sink.h"
#include "worker/engine/run/result_files.h"
#include "worker/engine/run/spec_bridge.h"
#include "worker/engine/session/session.h"

namespace graft {
namespace {

constexpr char kLockName[] = "engine.lock";

std::string ResultName(const v1::JobSpec& spec) {
  if (spec.has_evaluate()) return "artifacts";
  return MakesModel(spec.fine_tune().method()) ? "model" : "adapter";
}

absl::Status ResultInTheWay(const std::string& message) {
  return WithFailureClass(absl::FailedPreconditionError(message), FailureClass::kConfig);
}

// Is there a results.json, of one adapter or of one of several? It is written last.
absl::StatusOr<bool> HoldsScores(const std::string& artifacts) {
  if (FileExists(JoinPath(artifacts, kResultsFile))) return true;
  const std::string several = JoinPath(artifacts, "adapters");
  if (!DirectoryExists(several)) return false;
  ASSIGN_OR_RETURN(const std::vector<std::string> names, ListDirectory(several));
  return std::any_of(names.begin(), names.end(), [&](const std::string& name) {
    return FileExists(JoinPath(artifacts, EvaluationFile(name, kResultsFile)));
  });
}

// An evaluation that was ended leaves its directory behind, without results.json; what it had
// predicted must not pass for the next one's.
absl::Status CheckNoResult(const std::string& output, const v1::JobSpec& spec) {
  const std::string result = JoinPath(output, ResultName(spec));
  bool holds_result = FileExists(result) || DirectoryExists(result);
  if (spec.has_evaluate()) {
    ASSIGN_OR_RETURN(holds_result, HoldsScores(result));
  }
  if (holds_result) {
    return ResultInTheWay(absl::StrCat(
        result, ": holds the result of an earlier run; give another --out, or remove it"));
  }
  if (!spec.has_evaluate()) return absl::OkStatus();
  const std::string predictions = JoinPath(result, kPredictionsFile);
  if (FileExists(predictions)) RETURN_IF_ERROR(RemoveFile(predictions));
  return RemoveTree(JoinPath(result, "adapters"));
}

// Numbers the events and hands them on.
class EventLog {
 public:
  explicit EventLog(const std::function<void(const v1::JobEvent&)>& on_event)
      : on_event_(on_event) {}

  void Add(v1::JobEvent event) {
    event.set_sequence(++sequence_);
    event.set_attempt(1);
    if (!event.has_create_time()) *event.mutable_create_time() = ToTimestamp(Clock::Real().Now());
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

// The directories of the checkpoints, newest first.
absl::StatusOr<std::vector<std::string>> Checkpoints(const std::string& directory) {
  std::vector<std::string> paths;
  if (!DirectoryExists(directory)) return paths;
  ASSIGN_OR_RETURN(const std::vector<std::string> names, ListDirectory(directory));
  std::vector<int64_t> steps;
  for (const std::string& name : names) {
    int64_t step = 0;
    if (absl::SimpleAtoi(name, &step)) steps.push_back(step);
  }
  std::sort(steps.rbegin(), steps.rend());
  for (const int64_t step : steps) paths.push_back(JoinPath(directory, absl::StrCat(step)));
  return paths;
}

// The newest checkpoint that is as it was written; empty when there is none at all.
absl::StatusOr<std::string> CheckpointToGoOnFrom(const std::string& directory, EventLog& log) {
  ASSIGN_OR_RETURN(const std::vector<std::string> paths, Checkpoints(directory));
  std::vector<std::string> damages;
  for (const std::string& path : paths) {
    const absl::Status status = EngineSession::CheckCheckpoint(path);
    if (status.ok()) {
      for (const std::string& damage : damages) {
        log.Add(
            WarningToProto("CHECKPOINT_DAMAGED", absl::StrCat(damage, "; goes on from ", path)));
      }
      return path;
    }
    if (!absl::IsDataLoss(status)) return status;
    damages.emplace_back(status.message());
  }
  if (damages.empty()) return std::string();
  return absl::DataLossError(absl::StrCat(absl::StrJoin(damages, "; "),
                                          "; there is no other checkpoint to go on from: put ",
                                          damages.size() == 1 ? "it" : "one of them",
                                          " back as it was, or begin anew without --resume"));
}

v1::JobEvent FinalEvent(const engine::v1::Finished& finished) {
  v1::JobEvent event;
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

std::string CheckpointsOf(const std::string& output) { return JoinPath(output, "checkpoints"); }

// Beside the checkpoints, so that both go together.
std::string KeptMetricsOf(const std::string& output) {
  return JoinPath(CheckpointsOf(output), "metrics.events.jsonl");
}

absl::Status KeepMetrics(const engine::v1::Run& run, MetricLog& metrics) {
  int64_t last_step = 0;  // Without a checkpoint the run begins anew.
  (void)absl::SimpleAtoi(BaseName(run.checkpoint_directory()), &last_step);
  return metrics.KeepIn(KeptMetricsOf(run.work_directory()), last_step);
}

// The result is that of this very spec, computed with however many threads. FAILED_PRECONDITION: it
// is not; the message has the fields.
absl::Status CheckResultIsOf(const std::string& result, v1::JobSpec resolved) {
  const std::string path = JoinPath(result, kGraftJson);
  ASSIGN_OR_RETURN(v1::JobSpec made, ReadResolvedSpec(path));
  // They may be a default of the command that ran it, or of this one.
  for (v1::JobSpec* spec : {&made, &resolved}) {
    v1::TrainingSpec& training = *spec->mutable_fine_tune()->mutable_training();
    training.clear_threads();
    training.mutable_checkpoint()->clear_every_seconds();
  }
  std::string differences;
  google::protobuf::util::MessageDifferencer differencer;
  differencer.ReportDifferencesToString(&differences);
  if (differencer.Compare(made, resolved)) return absl::OkStatus();
  absl::StripTrailingAsciiWhitespace(&differences);
  return ResultInTheWay(absl::StrCat(result, ": holds the result of another job (",
                                     absl::StrReplaceAll(differences, {{"\n", ", "}}),
                                     "); give another --out, or remove it"));
}

// Tells of a job that was done before what it left, and ends it as it ended then.
engine::v1::Finished TellResult(const std::string& output, const v1::JobSpec& resolved,
                                EventLog& log) {
  engine::v1::Finished finished = FailedToRun(absl::OkStatus());
  const v1::FineTuneSpec& spec = resolved.fine_tune();
  v1::JobResult& result = *finished.mutable_result();
  (MakesModel(spec.method()) ? *result.mutable_model() : *result.mutable_adapter()) =
      spec.output_name();
  // Removed by hand, perhaps: the result is whole without it.
  const std::optional<v1::JobEvent> best = BestEvaluationIn(KeptMetricsOf(output));
  if (!best) return finished;
  result.set_best_step(best->evaluation().step());
  *result.mutable_metrics() = best->evaluation().values();
  log.Add(*best);
  return finished;
}

engine::v1::Run MakeRun(const StandaloneOptions& options, LocalJob job) {
  engine::v1::Run run;
  *run.mutable_resolved_spec() = std::move(job.resolved);
  run.set_base_model_directory(job.base_model);
  run.set_base_model_name(job.base_model);
  run.set_adapter_directory(job.adapter);
  for (std::string& path : job.adapters) run.add_adapter_directories(std::move(path));
  run.set_train_file(job.train);
  run.set_validation_file(job.validation);
  run.set_work_directory(options.output);
  run.set_cache_directory(options.cache.empty() ? JoinPath(options.output, "cache")
                                                : options.cache);
  run.set_attempt(1);
  return run;
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

absl::StatusOr<engine::v1::Finished> PrepareAndRun(const StandaloneOptions& options, EventLog& log,
                                                   StopToken& stop) {
  ASSIGN_OR_RETURN(LocalJob job, ResolveLocally(options));
  RETURN_IF_ERROR(CreateDirectories(options.output));
  const absl::StatusOr<ProcessLock> lock =
      ProcessLock::Acquire(JoinPath(options.output, kLockName), options.output, "graft-engine");
  if (!lock.ok()) return WithFailureClass(lock.status(), FailureClass::kInfrastructure);
  const std::string result = JoinPath(options.output, ResultName(job.resolved));
  if (options.resume && DirectoryExists(result)) {
    RETURN_IF_ERROR(CheckResultIsOf(result, job.resolved));
    return TellResult(options.output, job.resolved, log);
  }
  RETURN_IF_ERROR(CheckNoResult(options.output, job.resolved));
  RETURN_IF_ERROR(RemoveTree(JoinPath(options.output, "output")));  // Of a run that was ended.
  for (const v1::Warning& warning : job.warnings) {
    log.Add(WarningToProto(warning.code(), warning.text()));
  }
  engine::v1::Run run = MakeRun(options, std::move(job));
  if (options.device == "cpu") {
    run.set_memory_budget_bytes(EngineMemoryBudget(MachineMemoryBytes(), /*engines=*/1));
  }
  const std::string checkpoints = CheckpointsOf(options.output);
  if (options.resume) {
    ASSIGN_OR_RETURN(*run.mutable_checkpoint_directory(), CheckpointToGoOnFrom(checkpoints, log));
  } else {
    RETURN_IF_ERROR(RemoveTree(checkpoints));
  }
  return RunPrepared(options, run, log, stop);
}

}  // namespace

engine::v1::Finished RunStandalone(const StandaloneOptions& options,
                                   const std::function<void(const v1::JobEvent&)>& on_event,
                                   StopToken& stop) {
  EventLog log(on_event);
  absl::StatusOr<engine::v1::Finished> ran = PrepareAndRun(options, log, stop);
  engine::v1::Finished finished = ran.ok() ? *std::move(ran) : FailedToRun(ran.status());
  log.Add(FinalEvent(finished));
  return finished;
}

}  // namespace graft
