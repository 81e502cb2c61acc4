#include "worker/agent/generator.h"

#include <pthread.h>

#include <deque>
#include <map>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/rpc/status.h"
#include "common/telemetry/log.h"

namespace graft {
namespace {

using worker::v1::ReportGenerationRequest;

// After any other failure the engine is not trusted with the next text: an error of CUDA stays with
// its process, and after one of memory it holds what the next one needs.
bool IsTheRequests(const google::rpc::Status& status) {
  const auto code = static_cast<absl::StatusCode>(status.code());
  return code == absl::StatusCode::kOk || code == absl::StatusCode::kInvalidArgument ||
         code == absl::StatusCode::kCancelled;
}

void SendCancel(EngineLoan& engine, int row) {
  engine::v1::EngineCommand command;
  command.mutable_cancel();
  command.set_row(row);
  engine.Send(command).IgnoreError();  // A dead engine shows itself when it is read.
}

}  // namespace

// A batch on an engine. Its feeder brings texts, whose adapters may have to be fetched first, while
// the thread that serves it reads.
class Generator::Batch {
 public:
  Batch(Generator& generator, EngineLoan& engine, const GenerationQueue::Text& first,
        StopSignal& stop)
      : generator_(generator), engine_(engine), id_(first.id()), feeder_([this, first, &stop] {
          pthread_setname_np(pthread_self(), "texts");
          std::optional<GenerationQueue::Text> text = first;
          for (; text.has_value(); text = generator_.texts_.Next(id_)) Feed(*text, stop);
        }) {}
  ~Batch() {
    generator_.texts_.End(id_);
    feeder_.join();
  }

  // The engine's next words. False: there are none, the batch is over.
  bool Next(ReportGenerationRequest& message) ABSL_LOCKS_EXCLUDED(mutex_) {
    if (!bereft_.empty()) {
      message.set_row(bereft_.front());
      *message.mutable_error() = death_;
      bereft_.pop_front();
      return true;
    }
    while (!over_) {
      const absl::StatusOr<engine::v1::EngineEvent> event = engine_.Read();
      if (!event.ok()) {
        EngineEnded();
        return Next(message);
      }
      message.set_row(event->row());
      bool ends = false;
      if (event->has_generated()) {
        *message.mutable_response() = event->generated();
        ends = event->generated().done();
      } else if (event->has_finished()) {
        *message.mutable_error() = ErrorOf(*event);
        ends = true;
      } else {
        continue;
      }
      over_ = ends && generator_.texts_.Done(id_, event->row());
      return true;
    }
    return false;
  }
  // Can the engine serve others now?
  bool left_it_sound() const { return over_ && !is_broken_; }

 private:
  // Hands the text to the engine. One whose files cannot be had is cancelled there before it comes:
  // the engine's answer is what the reader waits for.
  void Feed(const GenerationQueue::Text& text, StopSignal& stop) ABSL_LOCKS_EXCLUDED(mutex_) {
    engine::v1::EngineCommand command;
    command.set_row(text.row());
    // A guest's words stay with those of the job.
    if (!engine_.is_guest()) command.set_log_file(generator_.log_path_);
    const absl::Status filled = Fill(text, stop, *command.mutable_generate());
    if (!filled.ok()) {
      {
        MutexLock lock(mutex_);
        failed_[text.row()] = filled;
      }
      SendCancel(engine_, text.row());
    }
    engine_.Send(command).IgnoreError();
  }

  absl::Status Fill(const GenerationQueue::Text& text, StopSignal& stop,
                    engine::v1::Generate& generate) {
    *generate.mutable_request() = text.request();
    generate.set_sequence(text.sequence());
    generate.set_base_model_sha256(text.base_model().sha256());
    ASSIGN_OR_RETURN(*generate.mutable_base_model_directory(),
                     generator_.inputs_.Folder(text.base_model(), stop));
    if (text.adapter().files().empty()) return absl::OkStatus();
    ASSIGN_OR_RETURN(*generate.mutable_adapter_directory(),
                     generator_.inputs_.Folder(text.adapter(), stop));
    return absl::OkStatus();
  }

  google::rpc::Status ErrorOf(const engine::v1::EngineEvent& event) ABSL_LOCKS_EXCLUDED(mutex_) {
    {
      MutexLock lock(mutex_);
      const auto failed = failed_.find(event.row());
      if (failed != failed_.end()) return ToRpcStatus(failed->second);
    }
    if (event.finished().engine_is_broken()) engine_.KillAsBroken();
    if (!IsTheRequests(event.finished().status()) && !engine_.is_guest()) is_broken_ = true;
    return event.finished().status();
  }

  void EngineEnded() {
    engine_.Kill();
    is_broken_ = over_ = true;
    death_ = ToRpcStatus(
        absl::UnavailableError(absl::StrCat("the engine ended by ", engine_.WaitForEnd().text)));
    const std::vector<int> rows = generator_.texts_.UnderWay(id_);
    bereft_.assign(rows.begin(), rows.end());
  }

  Generator& generator_;
  EngineLoan& engine_;
  const std::string id_;
  bool over_ = false;
  bool is_broken_ = false;
  std::deque<int> bereft_;  // Rows that the engine's death ends.
  google::rpc::Status death_;
  Mutex mutex_;
  std::map<int, absl::Status> failed_ ABSL_GUARDED_BY(mutex_);  // By row: its files.
  std::thread feeder_;                                          // Last: it uses everything above.
};

Generator::Generator(Place place, std::string log_path, ServerLink& link, InputCache& inputs,
                     EnginePool& engines, GenerationQueue& texts)
    : place_(place),
      log_path_(std::move(log_path)),
      link_(link),
      inputs_(inputs),
      engines_(engines),
      texts_(texts) {}

absl::StatusOr<std::unique_ptr<EngineLoan>> Generator::Borrow(const GenerationQueue::Text& first,
                                                              StopSignal& stop) {
  // Before, so that no engine waits for it.
  RETURN_IF_ERROR(inputs_.Folder(first.base_model(), stop).status());
  EnginePool::Borrower borrower;
  borrower.subject = first.id();
  borrower.is_text = true;
  borrower.base = first.base_model().sha256();
  borrower.log_path = log_path_;
  if (place_ == Place::kSlot) return engines_.Borrow(borrower);
  std::unique_ptr<EngineLoan> engine = engines_.Join(borrower);
  if (engine != nullptr) return engine;
  return absl::UnavailableError("no job runs on this base model any more");
}

void Generator::Serve(const GenerationQueue::Text& first, StopSignal& stop) {
  SetCurrent(first.id());
  const absl::StatusOr<std::unique_ptr<EngineLoan>> engine = Borrow(first, stop);
  if (!engine.ok()) {
    texts_.End(first.id());
    SetCurrent("");
    link_.ReportGenerationError(first, engine.status()).IgnoreError();
    Log(LogLevel::kWarning, "generation failed",
        {{"id", first.id()}, {"error", std::string(engine.status().message())}});
    return;
  }
  Attach(engine->get());
  bool sound = false;
  absl::Status reported;
  {
    Batch batch(*this, **engine, first, stop);
    reported = link_.ReportGeneration(
        first.id(), [&](ReportGenerationRequest& message) { return batch.Next(message); });
    sound = batch.left_it_sound();
  }
  SetCurrent("");
  // Where the server went away in the middle the engine would go on: the loan's end stops it.
  if (sound) (*engine)->GiveBack();
  if (reported.ok()) return;
  Log(LogLevel::kWarning, "generation failed",
      {{"id", first.id()}, {"error", std::string(reported.message())}});
}

void Generator::SetCurrent(const std::string& batch) {
  MutexLock lock(mutex_);
  engine_ = nullptr;
  current_batch_ = batch;
  cancelled_.clear();
}

void Generator::Attach(EngineLoan* engine) {
  MutexLock lock(mutex_);
  engine_ = engine;
  for (const int row : cancelled_) SendCancel(*engine_, row);
}

void Generator::Cancel(const std::string& batch, int row) {
  MutexLock lock(mutex_);
  if (current_batch_ != batch) return;
  if (engine_ == nullptr) {
    cancelled_.push_back(row);
  } else {
    SendCancel(*engine_, row);
  }
}

}  // namespace graft
