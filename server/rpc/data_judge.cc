#include "server/rpc/data_judge.h"

#include "common/base/status_macros.h"
#include "server/rpc/call.h"

namespace graft {

DataJudge JudgeIn(ServiceContext& context, Lane lane, const Caller& caller, const char* path) {
  if (lane != Lane::kCheck) {
    return
        [&context, path](const v1::JobSpec& spec) { return context.data_checks.Known(spec, path); };
  }
  return [&context, &caller, path](const v1::JobSpec& spec) -> std::optional<absl::Status> {
    // Whoever loses patience asks again, and finds the verdict.
    const Gone give_up = [&] { return context.runtime.draining() && caller.gone(); };
    RETURN_IF_ERROR(context.data_checks.Check(spec, path, give_up));
    return CheckWanted(caller.gone);
  };
}

}  // namespace graft
