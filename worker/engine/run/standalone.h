#pragma once

// graft-engine without a server: files in, files out. A spec's names of models, data sets and
// adapters may be paths; the spec is resolved by common/jobs, as a server does it.

#include <cstdint>
#include <functional>
#include <string>

#include "graft/engine/v1/engine.pb.h"
#include "graft/v1/event.pb.h"
#include "graft/v1/spec.pb.h"
#include "worker/engine/run_hooks.h"

namespace graft {

struct StandaloneOptions {
  v1::JobSpec spec;  // With names or paths.
  // Paths; empty: the spec's own name is the path.
  std::string base_model;
  std::string adapter;  // init_from, or the adapter to evaluate.
  std::string train;
  std::string validation;
  std::string output;  // Directory of everything that comes out; made when missing.
  std::string cache;   // Of token ids; empty: output/cache.
  std::string device = "cpu";
  int threads = 0;      // When the spec does not say; 0: as many as there are cores for it.
  bool resume = false;  // From the newest good checkpoint in `output`, if there is one.
};

// Resolves the spec, finds the inputs and runs the job as a worker would be told it. Events are
// numbered from 1 and end with a change to a final state. Afterwards `output` holds adapter/
// (model/ for a full job) or artifacts/, and checkpoints/ and cache/; one engine at a time has it.
//
// With `resume` a job that was done before is done: its best evaluation and its end are told again.
// A damaged checkpoint is left aside for an older one, with the warning CHECKPOINT_DAMAGED.
//
// The status: INVALID_ARGUMENT naming the spec's field; NOT_FOUND; FAILED_PRECONDITION when
// `output` is in use by another engine (its process is named), or holds a result: that of another
// spec, or any without `resume`; DATA_LOSS when every checkpoint is damaged. Codes of
// common/base/file.h, common/formats/model_folder.h and EngineSession.
engine::v1::Finished RunStandalone(const StandaloneOptions& options,
                                   const std::function<void(const v1::JobEvent&)>& on_event,
                                   StopToken& stop);

}  // namespace graft
