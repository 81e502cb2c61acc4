#include "server/store/job_insertion.h"

#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/status_macros.h"
#include "common/errors/status_details.h"
#include "common/jobs/continuation.h"
#include "common/jobs/job_state.h"
#include "common/jobs/method.h"
#include "common/jobs/names.h"
#include "server/store/catalogue_verbs.h"

namespace graft {
namespace {

constexpr absl::Duration kQueueFullRetry = absl::Seconds(5);

// What a resolved spec names, with the content that it named.
struct BoundResource {
  ResourceRef ref;
  std::string sha256;
};

std::vector<BoundResource> ResourcesOf(const v1::JobSpec& resolved) {
  std::vector<BoundResource> all;
  const auto add = [&all](ResourceKind kind, const std::string& name, const std::string& sha256) {
    if (!name.empty()) all.push_back({{kind, name}, sha256});
  };
  const bool evaluate = resolved.has_evaluate();
  const v1::DataSpec& data = evaluate ? resolved.evaluate().data() : resolved.fine_tune().data();
  if (evaluate) {
    add(ResourceKind::kModel, resolved.evaluate().base_model(),
        resolved.evaluate().base_model_sha256());
    add(ResourceKind::kAdapter, resolved.evaluate().adapter(),
        resolved.evaluate().adapter_sha256());
    for (int i = 0; i < resolved.evaluate().adapters_size(); ++i) {
      add(ResourceKind::kAdapter, resolved.evaluate().adapters(i),
          resolved.evaluate().adapters_sha256(i));
    }
  } else {
    add(ResourceKind::kModel, resolved.fine_tune().base_model(),
        resolved.fine_tune().base_model_sha256());
    add(ResourceKind::kAdapter, InitialAdapter(resolved.fine_tune()),
        resolved.fine_tune().init_from_sha256());
  }
  add(ResourceKind::kDataset, data.train(), data.train_sha256());
  add(ResourceKind::kDataset, data.validation(), data.validation_sha256());
  return all;
}

// What it will publish; nothing: an evaluation.
std::optional<ResourceRef> OutputOf(const v1::JobSpec& resolved) {
  if (!resolved.has_fine_tune()) return std::nullopt;
  const v1::FineTuneSpec& spec = resolved.fine_tune();
  return ResourceRef{MakesModel(spec.method()) ? ResourceKind::kModel : ResourceKind::kAdapter,
                     spec.output_name()};
}

// They are looked up before the transaction; here they must still be what they were.
absl::Status CheckResources(VerbContext& context, const std::vector<BoundResource>& resources) {
  for (const BoundResource& resource : resources) {
    ASSIGN_OR_RETURN(const ResourceRow row, RequireResource(context, resource.ref));
    if (row.sha256 == resource.sha256) continue;
    return WithReason(
        absl::FailedPreconditionError(absl::StrCat("the ", KindName(resource.ref.kind), " ",
                                                   resource.ref.name, " changed meanwhile")),
        kReasonVersionChanged);
  }
  return absl::OkStatus();
}

absl::Status CheckOutputName(VerbContext& context, const ResourceRef& output,
                             absl::string_view field) {
  ASSIGN_OR_RETURN(const auto publisher, context.tables.FindPublisher(output));
  ASSIGN_OR_RETURN(const auto resource, context.tables.FindResource(output));
  if (!publisher && !resource) return absl::OkStatus();
  Violations violations;
  violations.Add(field,
                 absl::StrCat("the ", KindName(output.kind), " ", output.name,
                              resource ? " is there already"
                                       : absl::StrCat(" will be published by ", *publisher)));
  return violations.Explain(WithReason(absl::AlreadyExistsError(""), kReasonNameTaken));
}

}  // namespace

absl::Status CheckDeadline(VerbContext& context, absl::Time deadline, absl::string_view field) {
  if (deadline > context.Now()) return absl::OkStatus();
  return FieldViolation(
      field, absl::StrCat("has passed: by the server's date it is ",
                          absl::FormatTime(absl::RFC3339_sec, context.Now(), absl::UTCTimeZone())));
}

absl::Status CheckQueue(VerbContext& context) {
  ASSIGN_OR_RETURN(const int64_t queued, context.tables.CountJobs(v1::JOB_STATE_QUEUED));
  if (queued < context.options.max_queued_jobs) return absl::OkStatus();
  return WithRetryDelay(WithReason(absl::ResourceExhaustedError(
                                       absl::StrCat("the queue is full: ", queued, " jobs wait")),
                                   kReasonQueueFull),
                        kQueueFullRetry);
}

absl::StatusOr<std::optional<StartingPoint>> FindStart(VerbContext& context,
                                                       const v1::JobSpec& resolved) {
  const auto wanted =
      resolved.has_fine_tune() ? InitialCheckpoint(resolved.fine_tune()) : std::nullopt;
  if (!wanted) return std::nullopt;
  const auto missing = [](const std::string& what) {
    Violations violations;
    violations.Add("job.spec.fine_tune.init_from", what, kReasonCheckpointMissing);
    return violations.ToStatus();
  };
  ASSIGN_OR_RETURN(const auto from, context.tables.FindJob(wanted->job));
  if (!from) return missing(absl::StrCat("there is no ", JobName(wanted->job)));
  ASSIGN_OR_RETURN(const auto checkpoints, context.tables.ListCheckpoints(from->number));
  std::vector<int64_t> steps;
  for (const CheckpointRow& checkpoint : checkpoints) {
    if (checkpoint.step == wanted->step) return StartingPoint{*from, checkpoint};
    steps.push_back(checkpoint.step);
  }
  return missing(absl::StrCat(
      from->job.name(), " has no checkpoint of step ", wanted->step,
      steps.empty() ? ", nor any other" : absl::StrCat("; it has ", absl::StrJoin(steps, ", "))));
}

std::string BeginAt(const StartingPoint& start, JobRow& row) {
  if (!row.job.allow_migration()) row.needs = start.checkpoint.needs;
  row.saved_step = start.checkpoint.step;
  row.job.set_step(start.checkpoint.step);
  return absl::StrCat("goes on from step ", start.checkpoint.step);
}

absl::Status GiveCheckpoint(VerbContext& context, const StartingPoint& start, const JobRow& to) {
  const int64_t step = start.checkpoint.step;
  const CheckpointRow row = {.step = step,
                             .attempt = 0,
                             .needs = start.checkpoint.needs,
                             .create_time = start.checkpoint.create_time};
  ASSIGN_OR_RETURN(
      const std::vector<v1::Artifact> files,
      context.tables.ListFiles(HolderKind::kCheckpoint, CheckpointHolder(start.job.number, step)));
  RETURN_IF_ERROR(context.tables.PutCheckpoint(to.number, row));
  return context.tables.PutFiles(HolderKind::kCheckpoint, CheckpointHolder(to.number, step), files);
}

absl::Status CheckInsertion(VerbContext& context, const v1::JobSpec& resolved,
                            absl::string_view output_field) {
  RETURN_IF_ERROR(CheckQueue(context));
  const std::optional<ResourceRef> output = OutputOf(resolved);
  // Without a name it will be the job's id, which is new.
  if (output && !output->name.empty()) {
    RETURN_IF_ERROR(CheckOutputName(context, *output, output_field));
  }
  return CheckResources(context, ResourcesOf(resolved));
}

absl::StatusOr<v1::Job> InsertQueued(VerbContext& context, JobRow& row, v1::Job specs,
                                     const std::string& reason) {
  const std::string id = context.options.new_job_id();
  row.job.set_name(JobName(id));
  row.method = MethodName(specs.resolved_spec());
  if (specs.resolved_spec().has_fine_tune()) {
    v1::FineTuneSpec& fine_tune = *specs.mutable_resolved_spec()->mutable_fine_tune();
    if (fine_tune.output_name().empty()) fine_tune.set_output_name(id);
    row.base_model = fine_tune.base_model();
  } else {
    row.base_model = specs.resolved_spec().evaluate().base_model();
  }
  row.output = OutputOf(specs.resolved_spec());
  std::vector<ResourceRef> uses;
  for (const BoundResource& resource : ResourcesOf(specs.resolved_spec())) {
    uses.push_back(resource.ref);
  }
  if (!row.job.retry_of().empty()) uses.push_back({ResourceKind::kJob, row.job.retry_of()});

  // The row is written once, with all that its events make of it.
  std::vector<v1::JobEvent> events(1);
  ASSIGN_OR_RETURN(events[0], ChangeState(row.job, v1::JOB_STATE_QUEUED, {reason}, context.Now()));
  for (const v1::Warning& warning : row.job.warnings()) {
    *events.emplace_back().mutable_warning() = warning;
  }
  for (v1::JobEvent& event : events) NumberEvent(context, row, event);
  NewVersion(context, row);
  RETURN_IF_ERROR(context.tables.InsertJob(row, specs, uses));
  for (const v1::JobEvent& event : events) {
    RETURN_IF_ERROR(context.tables.AppendEvent(row.number, event));
  }
  NoteChange(context, row, v1::JOB_STATE_UNSPECIFIED, nullptr);
  v1::Job job = row.job;
  job.set_method(row.method);
  job.mutable_spec()->Swap(specs.mutable_spec());
  job.mutable_resolved_spec()->Swap(specs.mutable_resolved_spec());
  return job;
}

}  // namespace graft
