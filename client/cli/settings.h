#pragma once

// What of a job was chosen by whoever submitted it.

#include <string>
#include <vector>

#include "graft/v1/adapter.pb.h"
#include "graft/v1/job.pb.h"
#include "graft/v1/model.pb.h"

namespace graft {

struct Setting {
  std::string path;   // In graft.v1.Job: "spec.fine_tune.method.lora.rank".
  std::string value;  // As a flag takes it; a newline is "\n".
};

// The settings of the submitted spec that are no defaults: set to something else than what a spec
// with the same model, data, adapters and parts of the method, and nothing more, resolves to. Names
// are no settings. `model` and `adapters` are those of the job, in the order in which it names
// them; without its model (it may have been deleted) nothing is known of defaults, and all that was
// set is given.
std::vector<Setting> ChosenSettings(const v1::JobSpec& submitted, const v1::Model* model,
                                    const std::vector<v1::Adapter>& adapters);

}  // namespace graft
