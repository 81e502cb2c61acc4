#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "common/base/mutex.h"
#include "graft/engine/v1/engine.pb.h"
#include "worker/engine/run/job_control.h"

namespace graft {

// The commands of the peer, sorted: what acts at once (Cancel, Pause, Fence), and what waits for
// the main thread. Handle is the reader's, the rest the main thread's.
class CommandQueue {
 public:
  // A Run or a Generate.
  struct Work {
    engine::v1::EngineCommand command;
    std::shared_ptr<JobControl> control;
    // Tokens of a text that were told before it had to be left.
    std::vector<int32_t> told;
  };
  static constexpr size_t kMaxWaiting = 64;
  // Jobs that commands have named and that have not finished.
  static constexpr size_t kMaxControls = 256;

  // Blocks while too many wait.
  void Handle(engine::v1::EngineCommand command) ABSL_LOCKS_EXCLUDED(mutex_);

  // Blocks for the next. Nothing after Shutdown.
  std::optional<Work> Next() ABSL_LOCKS_EXCLUDED(mutex_);
  // The first text, if one waits; with `like` one on the same base model.
  std::optional<Work> NextText(const engine::v1::Generate* like = nullptr)
      ABSL_LOCKS_EXCLUDED(mutex_);
  // It is the next again.
  void PutBack(Work work) ABSL_LOCKS_EXCLUDED(mutex_);
  // What the command wanted is done.
  void Finish(const engine::v1::EngineCommand& command) ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  // A job's, or that of one text of several under a name.
  using Subject = std::pair<std::string, int32_t>;
  static Subject SubjectOf(const engine::v1::EngineCommand& command) {
    return {command.job(), command.row()};
  }
  std::shared_ptr<JobControl> ControlOf(const engine::v1::EngineCommand& command)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  Mutex mutex_;
  CondVar changed_;
  std::deque<Work> waiting_ ABSL_GUARDED_BY(mutex_);
  std::map<Subject, std::shared_ptr<JobControl>> controls_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace graft
