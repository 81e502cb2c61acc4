#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/base/mutex.h"
#include "graft/engine/v1/engine.pb.h"
#include "worker/agent/engine_launcher.h"

namespace graft {

// One engine that several threads talk to, each about a job or text of its own: what it says goes
// to whom it is about. It has no thread: whoever waits for news reads for the others too, and who
// reads nothing holds up the engine, as it would alone. Thread-safe.
class SharedEngine {
 public:
  // Events of one subject that wait for its thread, at the most; then the others wait for it. A
  // text's are not counted: the model's positions bound them, and it must not hold up a job.
  static constexpr size_t kMaxWaiting = 64;
  enum class Kind { kJob, kText };

  using HelloCallback = std::function<void(const engine::v1::Hello&)>;

  // `on_hello` (may be empty) is told what the engine says of itself, on the thread that reads it,
  // whatever it reads for.
  explicit SharedEngine(std::unique_ptr<EngineProcess> process, HelloCallback on_hello = nullptr)
      : process_(std::move(process)), on_hello_(std::move(on_hello)) {}

  // Between the two, events about `subject` are kept for Read. A subject's name is never used
  // again, so that nothing of an earlier one is taken for its own.
  void Open(const std::string& subject, Kind kind) ABSL_LOCKS_EXCLUDED(mutex_);
  void Close(const std::string& subject) ABSL_LOCKS_EXCLUDED(mutex_);

  absl::Status Send(const engine::v1::EngineCommand& command) { return process_->Send(command); }
  // Blocks for the next event about the subject, or about no one (Hello). As EngineProcess::Read;
  // for one thread a subject.
  absl::StatusOr<engine::v1::EngineEvent> Read(const std::string& subject)
      ABSL_LOCKS_EXCLUDED(mutex_);
  void Kill() { process_->Kill(); }
  // The engine is no good any more, by what `text` did to it. Read() then ends for all.
  void KillBecauseOf(const std::string& text) ABSL_LOCKS_EXCLUDED(mutex_);
  // Did it end in the middle of a text, or has one broken it? Then by no fault of the job beside
  // it.
  bool WasEndedByText() ABSL_LOCKS_EXCLUDED(mutex_);
  void Suspend(bool suspended) { process_->Suspend(suspended); }
  bool IsAlive() { return process_->IsAlive(); }
  EngineProcess::End WaitForEnd() ABSL_LOCKS_EXCLUDED(end_mutex_);

 private:
  struct Mailbox {
    Kind kind = Kind::kJob;
    std::deque<engine::v1::EngineEvent> events;
  };

  // Lets the next one read for all.
  void StopReading() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Which of a subject's texts, as EngineEvent.row has it.
  using Text = std::pair<std::string, int>;

  bool IsAtWorkOn(const std::string& subject) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Notes which texts it works on: it says so when it begins, and when it ends.
  void Note(const engine::v1::EngineEvent& event) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // To whom it is about, if it is still there.
  void Deliver(engine::v1::EngineEvent event) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const std::unique_ptr<EngineProcess> process_;
  const HelloCallback on_hello_;
  Mutex mutex_;
  CondVar changed_;
  std::map<std::string, Mailbox> mailboxes_ ABSL_GUARDED_BY(mutex_);
  bool reading_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Status broken_ ABSL_GUARDED_BY(mutex_);  // Why nothing more can be read.
  std::set<std::string> texts_ ABSL_GUARDED_BY(mutex_);
  std::set<Text> texts_at_work_ ABSL_GUARDED_BY(mutex_);
  bool ended_by_text_ ABSL_GUARDED_BY(mutex_) = false;
  Mutex end_mutex_;
  std::optional<EngineProcess::End> end_ ABSL_GUARDED_BY(end_mutex_);
};

}  // namespace graft
