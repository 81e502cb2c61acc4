// What JobService says of a job before it is made.

#include <cmath>
#include <string>
#include <utility>

#include "common/base/status_macros.h"
#include "common/errors/status_details.h"
#include "common/jobs/continuation.h"
#include "common/jobs/job_spec.h"
#include "common/jobs/method.h"
#include "server/catalogue/lease_inputs.h"
#include "server/planning/job_plan.h"
#include "server/rpc/job_service.h"

namespace graft {
namespace {

constexpr char kPlannedSpec[] = "spec";

// What can be said without facts.
absl::Status ValidatePlan(const v1::PlanJobRequest& request) {
  Violations violations;
  const double wished = request.detectable_difference();
  if (!(wished >= 0 && wished <= 1)) {
    violations.Add("detectable_difference", "must be above 0 (0: the default) and at most 1");
  }
  v1::Job job;
  job.set_priority(request.priority());
  violations.AddAll(ValidateJobFields(job, ""));
  const absl::Status spec = ValidateSpec(request.spec(), kPlannedSpec);
  if (!spec.ok() && FieldViolationsOf(spec).empty()) return spec;
  violations.AddAll(spec);
  return violations.ToStatus();
}

// By an idle worker, as its engine would compute it.
absl::StatusOr<v1::JobMeasurement> Measure(const ServiceContext& context, const v1::Job& job,
                                           const Gone& gone) {
  if (!job.resolved_spec().has_fine_tune()) {
    return absl::UnimplementedError("only fine-tune jobs are measured");
  }
  if (ContinuesJob(job.resolved_spec().fine_tune())) {
    return absl::UnimplementedError("what goes on from another job's checkpoint is not measured");
  }
  Claim claim;
  claim.job = job;
  worker::v1::Lease lease;
  RETURN_IF_ERROR(FillLease(context.store, claim, &lease));
  return context.measurements.Measure(std::move(lease), gone);
}

}  // namespace

grpc::ServerUnaryReactor* JobService::PlanJob(grpc::CallbackServerContext* call,
                                              const v1::PlanJobRequest* request,
                                              v1::JobPlan* response) {
  return context_.runtime.Unary(call, *request,
                                {"JobService.PlanJob", "jobs.plan", "", Lane::kPlan},
                                [=, this](const Caller& caller) -> absl::Status {
                                  ASSIGN_OR_RETURN(*response, Plan(*request, caller));
                                  return absl::OkStatus();
                                });
}

absl::StatusOr<v1::JobPlan> JobService::Plan(const v1::PlanJobRequest& sent, const Caller& caller) {
  v1::PlanJobRequest request = sent;
  request.DiscardUnknownFields();
  RETURN_IF_ERROR(ValidatePlan(request));
  ASSIGN_OR_RETURN(const ResolvedFromStore resolved,
                   ResolveFromStore(context_.catalogue, request.spec(),
                                    context_.options.spec_defaults, kPlannedSpec));
  RETURN_IF_ERROR(resolved.missing_data);
  NewJob job;
  job.job.set_priority(request.priority());
  job.job.set_allow_migration(request.allow_migration());
  *job.job.mutable_spec() = request.spec();
  *job.job.mutable_resolved_spec() = resolved.spec;
  job.job.set_method(MethodName(resolved.spec));
  RETURN_IF_ERROR(context_.store.CheckJob(job));
  RETURN_IF_ERROR(context_.data_checks.Check(resolved.spec, kPlannedSpec, caller.gone));
  ASSIGN_OR_RETURN(v1::JobPlan plan, MakeJobPlan(context_.catalogue, resolved,
                                                 request.detectable_difference(), caller.gone));
  ASSIGN_OR_RETURN(const v1::QueueEntry place,
                   context_.queue.Foresee(resolved.spec, request.priority()));
  if (place.has_expected_start_seconds()) {
    plan.set_expected_start_seconds(place.expected_start_seconds());
  }
  plan.set_waits(place.waits());
  if (request.without_worker()) {
    plan.set_not_measured("nothing was to be measured");
  } else if (absl::StatusOr<v1::JobMeasurement> measured = Measure(context_, job.job, caller.gone);
             measured.ok()) {
    *plan.mutable_measured() = *std::move(measured);
  } else {
    plan.set_not_measured(std::string(measured.status().message()));
  }
  return plan;
}

}  // namespace graft
