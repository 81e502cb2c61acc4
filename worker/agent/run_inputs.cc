#include "worker/agent/run_inputs.h"

#include "common/base/status_macros.h"

namespace graft {

absl::StatusOr<engine::v1::Run> LayOutInputs(const worker::v1::Lease& lease, InputCache& inputs,
                                             StopSignal& stop) {
  engine::v1::Run run;
  *run.mutable_resolved_spec() = lease.resolved_spec();
  run.set_base_model_name(lease.base_model_name());
  run.set_display_name(lease.display_name());
  run.set_allow_migration(lease.allow_migration());
  run.set_pause_at_step(lease.pause_at_step());
  run.set_attempt(lease.attempt());
  run.set_base_model_sha256(lease.base_model().sha256());
  ASSIGN_OR_RETURN(*run.mutable_base_model_directory(), inputs.Folder(lease.base_model(), stop));
  if (!lease.adapter().files().empty()) {
    ASSIGN_OR_RETURN(*run.mutable_adapter_directory(), inputs.Folder(lease.adapter(), stop));
  }
  for (const worker::v1::InputFiles& adapter : lease.adapters()) {
    ASSIGN_OR_RETURN(*run.add_adapter_directories(), inputs.Folder(adapter, stop));
  }
  if (!lease.train_data().sha256().empty()) {
    ASSIGN_OR_RETURN(*run.mutable_train_file(), inputs.File(lease.train_data(), stop));
  }
  if (!lease.validation_data().sha256().empty()) {
    ASSIGN_OR_RETURN(*run.mutable_validation_file(), inputs.File(lease.validation_data(), stop));
  }
  return run;
}

}  // namespace graft
