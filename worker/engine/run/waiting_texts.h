#pragma once

#include <deque>
#include <list>
#include <memory>
#include <optional>

#include "graft/engine/v1/engine.pb.h"
#include "worker/engine/run/command_queue.h"
#include "worker/engine/run/event_channel.h"
#include "worker/engine/session/session.h"

namespace graft {

// The Generate commands of a queue as an EngineSession takes them; what becomes of each is told
// through the channel. Main thread.
class WaitingTexts : public TextSource {
 public:
  // All three outlive it.
  WaitingTexts(EventChannel& channel, CommandQueue& queue, const EngineSession& session);
  ~WaitingTexts() override;

  // This one, and those on its base model that wait or come.
  void BeginWith(CommandQueue::Work work);
  // Those that wait now, and no others: somebody waits for their end.
  void TakeThoseThatWait();
  bool empty() const { return waiting_.empty(); }

  TextTask* Next() override;
  // Those that have not ended wait again, in their order, before all others.
  void PutBack();

 private:
  class Task;

  EventChannel& channel_;
  CommandQueue& queue_;
  const EngineSession& session_;
  std::optional<engine::v1::Generate> takes_like_;  // More of the queue: on the same base model.
  std::deque<std::unique_ptr<Task>> waiting_;
  std::list<std::unique_ptr<Task>> begun_;
};

}  // namespace graft
