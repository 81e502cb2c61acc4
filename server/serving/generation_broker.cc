#include "server/serving/generation_broker.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/errors/status_details.h"

namespace graft {

using worker::v1::Command;

namespace {

absl::Status NoWorkerFor(bool needs_batching) {
  return WithReason(
      absl::UnavailableError(
          needs_batching
              ? "no worker is connected that knows stop_strings, log_probabilities and "
                "num_return_sequences: start one of this release (graft-server --workers 1, or "
                "graft-worker)"
              : "no worker is connected: start one (graft-server --workers 1, or graft-worker)"),
      kReasonNoWorker);
}

absl::Status Lost(const std::string& worker) {
  return absl::UnavailableError(absl::StrCat("worker ", worker, " was lost"));
}

Command CancelOf(const TextBatch& batch, int row) {
  Command command;
  command.mutable_cancel_generate()->set_id(batch.id);
  command.mutable_cancel_generate()->set_row(row);
  return command;
}

}  // namespace

absl::StatusOr<GenerationBroker::Handle> GenerationBroker::Submit(
    std::vector<Command::Generate> commands, std::shared_ptr<StreamWaker> waker) {
  auto call = std::make_shared<TextCall>(std::move(commands), std::move(waker), clock_.Boottime());
  std::deque<Text>& texts = call->texts();
  const bool needs_batching = std::any_of(texts.begin(), texts.end(),
                                          [](const Text& text) { return text.needs_batching(); });
  if (!hub_.CanMakeTexts(needs_batching)) return NoWorkerFor(needs_batching && !hub_.empty());
  {
    MutexLock lock(mutex_);
    if (texts.size() > max_queued_) {
      return WithReason(absl::ResourceExhaustedError(
                            absl::StrCat(texts.size(), " texts at once: at most ", max_queued_,
                                         " may wait (graft-server --max-waiting-texts)")),
                        kReasonQueueFull);
    }
    if (queue_.size() >= max_queued_ || texts.size() > max_queued_ - queue_.size()) {
      return Overloaded(absl::StrCat(queue_.size(), " texts wait already; try again later"),
                        absl::Seconds(5));
    }
    for (Text& text : texts) queue_.Push(text);
  }
  Dispatch();
  return call;
}

SourceState GenerationBroker::Next(const Handle& call, v1::GenerateBatchResponse* response) {
  MutexLock lock(mutex_);
  return call->Next(response);
}

void GenerationBroker::Abandon(const Handle& call) {
  std::vector<std::pair<std::string, Command>> cancels;
  std::vector<Batch> left;
  {
    MutexLock lock(mutex_);
    for (Text& text : call->texts()) {
      if (text.ended) continue;
      const Batch batch = text.batch;
      if (batch == nullptr) {
        queue_.Remove(text);
      } else {
        cancels.emplace_back(batch->place.worker, CancelOf(*batch, text.row));
      }
      End(text, absl::CancelledError("nobody waits for this text any more"));
      // Of what is claimed the report's end is told.
      if (batch != nullptr && batch->rows.empty() && !batch->claimed) {
        batches_.erase(batch->id);
        left.push_back(batch);
      }
    }
  }
  for (auto& [worker, command] : cancels) hub_.Send(worker, std::move(command));
  for (const Batch& batch : left) {
    // Of slots heartbeats tell.
    if (batch->place.beside_job) Leave(*batch, /*refused=*/false);
  }
  if (!cancels.empty()) Dispatch();
}

absl::StatusOr<GenerationBroker::Batch> GenerationBroker::Claim(const std::string& id,
                                                                const std::string& worker) {
  MutexLock lock(mutex_);
  const auto it = batches_.find(id);
  if (it == batches_.end() || it->second->place.worker != worker || it->second->claimed) {
    return absl::NotFoundError(absl::StrCat("nobody waits for texts ", id, " of ", worker));
  }
  it->second->claimed = true;
  return it->second;
}

absl::Status GenerationBroker::Report(const Batch& batch, int row, v1::GenerateResponse response) {
  std::shared_ptr<StreamWaker> waker;
  std::optional<Command> cancel;
  const bool done = response.done();
  {
    MutexLock lock(mutex_);
    const auto it = batch->rows.find(row);
    if (it == batch->rows.end()) {
      return batch->rows.empty() ? absl::CancelledError("nobody waits for these texts any more")
                                 : absl::OkStatus();
    }
    Text& text = *it->second;
    waker = text.call->waker();
    text.begun = batch->begun = true;
    Count(text, response);
    if (!text.call->Push(text, std::move(response))) {
      cancel = CancelOf(*batch, row);
      End(text, absl::ResourceExhaustedError("the text was not read fast enough"));
    } else if (done) {
      End(text, absl::OkStatus());
    }
  }
  waker->Wake();
  const bool ended = done || cancel.has_value();
  if (cancel) hub_.Send(batch->place.worker, *std::move(cancel));
  if (ended) Dispatch();
  return absl::OkStatus();
}

void GenerationBroker::EndRow(const Batch& batch, int row, const absl::Status& status) {
  std::shared_ptr<StreamWaker> waker;
  {
    MutexLock lock(mutex_);
    const auto it = batch->rows.find(row);
    if (it == batch->rows.end()) return;
    Text& text = *it->second;
    waker = text.call->waker();
    if (absl::IsUnavailable(status)) {
      batch->turned_down = true;
      MoveOrEnd(text, status);
    } else {
      batch->begun = true;
      End(text, status);
    }
  }
  waker->Wake();
  Dispatch();
}

void GenerationBroker::Finish(const Batch& batch, const absl::Status& status) {
  Wakers wakers;
  bool refused = false;
  {
    MutexLock lock(mutex_);
    if (batches_.erase(batch->id) == 0) return;
    refused = batch->turned_down || (!batch->rows.empty() && (!status.ok() || !batch->begun));
    MoveOrEndRows(batch,
                  status.ok()
                      ? absl::UnavailableError("the worker ended the text before its last message")
                      : status,
                  wakers);
  }
  Leave(*batch, refused);
  for (const auto& waker : wakers) waker->Wake();
  EndHopeless();
  Dispatch();
}

void GenerationBroker::WorkerLost(const std::string& worker) {
  Wakers wakers;
  {
    MutexLock lock(mutex_);
    std::vector<Batch> lost;
    for (const auto& [id, batch] : batches_) {
      // What it reports on ends with that report.
      if (batch->place.worker == worker && !batch->claimed) lost.push_back(batch);
    }
    for (const Batch& batch : lost) {
      batches_.erase(batch->id);
      MoveOrEndRows(batch, Lost(worker), wakers);
    }
  }
  for (const auto& waker : wakers) waker->Wake();
  EndHopeless();
  Dispatch();
}

void GenerationBroker::EndHopeless() {
  const bool any = hub_.CanMakeTexts(/*needs_batching=*/false);
  if (any && hub_.CanMakeTexts(/*needs_batching=*/true)) return;
  Wakers wakers;
  {
    MutexLock lock(mutex_);
    for (Text* text : queue_.texts()) {
      if (any && !text->needs_batching()) continue;
      queue_.Remove(*text);
      wakers.push_back(text->call->waker());
      End(*text, any ? NoWorkerFor(true) : absl::UnavailableError("the last worker was lost"));
    }
  }
  for (const auto& waker : wakers) waker->Wake();
}

void GenerationBroker::Dispatch() {
  std::vector<Given> given;
  {
    MutexLock lock(mutex_);
    for (const auto& [id, batch] : batches_) {
      // One without rows is about to end.
      if (!batch->rows.empty()) Fill(batch, given);
    }
  }
  Send(std::move(given));
  while (BeginBatch()) {
  }
}

bool GenerationBroker::BeginBatch() {
  std::vector<TextQueue::Kind> kinds;
  {
    MutexLock lock(mutex_);
    kinds = queue_.Kinds();
  }
  for (const TextQueue::Kind& kind : kinds) {
    const WorkerHub::TextPlace place = hub_.TakePlaceForText(kind.base, kind.needs_batching);
    if (place.worker.empty()) continue;
    BeginBatchAt(place, kind.base);
    return true;
  }
  return false;
}

void GenerationBroker::BeginBatchAt(const WorkerHub::TextPlace& place, const std::string& base) {
  const absl::Duration joined_until =
      place.beside_job ? absl::InfiniteDuration() : clock_.Boottime() + kBatchJoinTime;
  Batch batch;
  std::vector<Given> given;
  {
    MutexLock lock(mutex_);
    batch = std::make_shared<TextBatch>(
        TextBatch{absl::StrCat("g", next_id_++), base, place, joined_until});
    Text* const first = queue_.Take(base, place.batches);
    if (first != nullptr) {
      batches_[batch->id] = batch;
      AddRow(batch, *first, given);
      Fill(batch, given);
    }
  }
  // Somebody else has taken the last one.
  if (given.empty()) return Leave(*batch, /*refused=*/false);
  Send(std::move(given));
}

void GenerationBroker::Fill(const Batch& batch, std::vector<Given>& given) {
  if (!batch->place.batches || batch->turned_down || clock_.Boottime() >= batch->joined_until) {
    return;
  }
  while (batch->rows.size() < kMaxRowsInBatch) {
    Text* const text = queue_.Take(batch->base, /*batching=*/true);
    if (text == nullptr) return;
    AddRow(batch, *text, given);
  }
}

void GenerationBroker::AddRow(const Batch& batch, Text& text, std::vector<Given>& given) {
  text.batch = batch;
  text.row = batch->next_row++;
  batch->rows[text.row] = &text;
  given.push_back({batch, text.row, text.CommandTo(*batch)});
}

void GenerationBroker::Send(std::vector<Given> given) {
  for (Given& each : given) {
    const std::string& worker = each.batch->place.worker;
    if (!hub_.Send(worker, std::move(each.command))) {
      TakeBack(each);
      continue;
    }
    bool under_way = false;
    {
      MutexLock lock(mutex_);
      under_way = each.batch->rows.contains(each.row);
    }
    // Its user went away meanwhile, and his cancel may have come first.
    if (!under_way) hub_.Send(worker, CancelOf(*each.batch, each.row));
  }
}

void GenerationBroker::TakeBack(const Given& given) {
  std::shared_ptr<StreamWaker> waker;
  bool over = false;
  {
    MutexLock lock(mutex_);
    const auto it = given.batch->rows.find(given.row);
    if (it == given.batch->rows.end()) return;
    waker = it->second->call->waker();
    given.batch->turned_down = true;
    MoveOrEnd(*it->second, Lost(given.batch->place.worker));
    over =
        given.batch->rows.empty() && !given.batch->claimed && batches_.erase(given.batch->id) > 0;
  }
  if (over) Leave(*given.batch, /*refused=*/true);
  waker->Wake();
}

void GenerationBroker::Leave(const TextBatch& batch, bool refused) {
  if (batch.place.beside_job) {
    hub_.LeavePlaceBesideJob(batch.place.worker, batch.base, refused);
  } else if (!refused) {
    // A worker that was busy after all tells of its free slots with its next heartbeat.
    hub_.AdjustFreeSlots(batch.place.worker, +1);
  }
}

size_t GenerationBroker::queued() const {
  MutexLock lock(mutex_);
  return queue_.size();
}

std::map<std::string, size_t> GenerationBroker::QueuedByAdapter() const {
  MutexLock lock(mutex_);
  std::map<std::string, size_t> queued;
  for (const Text* text : queue_.texts()) ++queued[text->adapter()];
  return queued;
}

void GenerationBroker::Count(Text& text, const v1::GenerateResponse& response) {
  if (response.ids_size() == 0) return;
  const absl::Duration now = clock_.Boottime();
  if (text.tokens == 0) {
    text.first_token = now;
    telemetry_.OnFirstToken(text.adapter(), now - text.submitted);
  }
  text.last_token = now;
  text.tokens += response.ids_size();
  telemetry_.OnTokens(text.adapter(), response.ids_size());
}

void GenerationBroker::LeaveRow(Text& text) {
  if (text.batch == nullptr) return;
  text.batch->rows.erase(text.row);
  text.batch = nullptr;
}

void GenerationBroker::End(Text& text, const absl::Status& status) {
  LeaveRow(text);
  // What comes in one piece has no time a token.
  if (text.last_token > text.first_token) {
    telemetry_.OnEnd(text.adapter(), text.last_token - text.first_token, text.tokens - 1);
  }
  // A caller can tell it from a server that is not there.
  text.call->End(text, absl::IsUnavailable(status) ? WithReason(status, kReasonNoWorker) : status);
}

void GenerationBroker::MoveOrEnd(Text& text, const absl::Status& status) {
  if (text.begun || ++text.moves > kMaxGenerationMoves) return End(text, status);
  LeaveRow(text);
  queue_.PushFront(text);
}

void GenerationBroker::MoveOrEndRows(const Batch& batch, const absl::Status& status,
                                     Wakers& wakers) {
  while (!batch->rows.empty()) {
    Text& text = *batch->rows.rbegin()->second;
    wakers.push_back(text.call->waker());
    MoveOrEnd(text, status);
  }
}

}  // namespace graft
