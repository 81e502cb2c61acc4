#pragma once

// The seam between the agent and the engine below it: a process in production, a script in tests.

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "graft/engine/v1/engine.pb.h"

namespace graft {

// One running engine. Destroying it kills it. Read() is for one thread; the rest may be called from
// any.
class EngineProcess {
 public:
  virtual ~EngineProcess() = default;
  // Never blocks: the command is on its way when this returns. A fence takes the place of one that
  // has not gone yet. UNAVAILABLE: the engine is gone; RESOURCE_EXHAUSTED: it reads nothing.
  virtual absl::Status Send(const engine::v1::EngineCommand& command) = 0;
  // Blocks for the next event. OUT_OF_RANGE: the engine has ended; DATA_LOSS: what it wrote is no
  // event.
  virtual absl::StatusOr<engine::v1::EngineEvent> Read() = 0;
  // False: it has ended, or closed its socket.
  virtual bool IsAlive() = 0;
  // SIGKILL. Read() then ends.
  virtual void Kill() = 0;
  // Takes the processor from the engine, or gives it back: the backstop for an engine that does not
  // heed its fence.
  virtual void Suspend(bool suspended) = 0;
  // How it ended. Kills an engine that closed its socket and lives on.
  struct End {
    std::string text;            // "signal 9 (Killed)".
    bool out_of_memory = false;  // The kernel's OOM killer ended it.
  };
  virtual End WaitForEnd() = 0;
};

class EngineLauncher {
 public:
  virtual ~EngineLauncher() = default;
  // Starts an engine whose standard error goes to the file `log_path`. It dies with the calling
  // thread (PR_SET_PDEATHSIG), so that thread must live as long as the engine.
  virtual absl::StatusOr<std::unique_ptr<EngineProcess>> Launch(const std::string& log_path) = 0;
};

// Runs `program serve --device device --threads threads`.
std::unique_ptr<EngineLauncher> MakeProcessEngineLauncher(std::string program, std::string device,
                                                          int threads);

}  // namespace graft
