#include "server/store/sqlite_backend.h"

#include <sqlite3.h>

#include <deque>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/failpoint.h"
#include "common/base/mutex.h"
#include "common/base/status_macros.h"
#include "common/errors/status_details.h"
#include "common/jobs/names.h"
#include "server/store/disk_reserve.h"
#include "server/store/sqlite_copy.h"
#include "server/store/sqlite_file.h"
#include "server/store/sqlite_tables.h"

namespace graft {
namespace {

constexpr size_t kMaxGroup = 256;       // Writes in one commit.
constexpr int kMaxReaders = 8;          // Connections.
constexpr int kCheckpointPages = 1000;  // Of the WAL; 4 MiB.
constexpr int64_t kReserveBytes = 4 << 20;
constexpr absl::Duration kRefillInterval = absl::Minutes(1);

constexpr char kBegin[] = "BEGIN";
constexpr char kBeginWriting[] = "BEGIN IMMEDIATE";
constexpr char kCommit[] = "COMMIT";
constexpr char kRollback[] = "ROLLBACK";
constexpr char kSavepoint[] = "SAVEPOINT write";
constexpr char kRelease[] = "RELEASE write";
constexpr char kUndoWrite[] = "ROLLBACK TO write";

// A write that waits for the writer thread.
struct PendingWrite {
  WritePlace place = WritePlace::kAnywhere;
  const WriteBody* body = nullptr;
  WriteEffects effects;
  // In the last try of its group.
  bool ran = false;
  bool changed_rows = false;
  absl::Status status;
  bool done = false;
  CondVar answered;  // Done. Of its own, so that nobody is woken for another's answer.

  bool MakesRoom() const { return place == WritePlace::kMakesRoom || effects.makes_room; }
};

int NoteWalSize(void* pages, sqlite3*, const char*, int size) {
  *static_cast<int*>(pages) = size;
  return SQLITE_OK;
}

class SqliteBackend : public Backend {
 public:
  SqliteBackend(SqliteOptions sqlite, const StoreOptions& options,
                std::shared_ptr<JobListeners> listeners, ProcessLock lock)
      : sqlite_(std::move(sqlite)),
        clock_(*options.clock),
        on_commit_(options.on_commit),
        listeners_(std::move(listeners)),
        instance_(NewJobId()),
        lock_(std::move(lock)),
        reserve_(absl::StrCat(sqlite_.path, ".reserve"), kReserveBytes) {}

  absl::Status Open() {
    RETURN_IF_ERROR(OpenWriterConnection());
    RETURN_IF_ERROR(Migrate(*writer_, sqlite_.path));
    ASSIGN_OR_RETURN(commits_, TakeOver(*writer_, instance_, clock_.Now()));
    reserve_.Refill();
    thread_ = std::thread([this] {
      ::pthread_setname_np(::pthread_self(), "store-writer");
      RunWriter();
    });
    return absl::OkStatus();
  }

  ~SqliteBackend() override {
    {
      MutexLock lock(mutex_);
      closing_ = true;
      work_.NotifyAll();
    }
    if (thread_.joinable()) thread_.join();
    {
      MutexLock lock(readers_mutex_);
      readers_.clear();
    }
    if (writer_ != nullptr) Checkpoint(SQLITE_CHECKPOINT_TRUNCATE);
  }

  absl::Status Write(WritePlace place, const WriteBody& body) override;
  absl::Status Read(const ReadBody& body) override;
  absl::StatusOr<std::vector<std::string>> FindDamage() override;
  absl::Status CopyTo(const std::string& path, const ByteProgress& progress) override;

 private:
  void RunWriter();
  // The writes that go next, together; waits for them. None: the store closes.
  std::vector<PendingWrite*> TakeGroup();
  // Runs and commits writes and sets their statuses.
  void RunGroup(const std::vector<PendingWrite*>& group);
  // The writes in one transaction. An error is that of the transaction: none of them is stored.
  absl::Status TryGroup(const std::vector<PendingWrite*>& group);
  absl::Status RunInSavepoint(PendingWrite& write);
  absl::Status Commit(int64_t changes_before);
  // Whether the commit that failed with `error` took place after all: OK, or why not.
  absl::Status ResolveCommit(const absl::Status& error);
  absl::Status OpenWriterConnection();
  void Checkpoint(int mode);
  void KeepReserve();

  // Runs `body` in a transaction of a connection that reads.
  absl::Status ReadWith(const std::function<absl::Status(SqliteDatabase&)>& body);
  absl::StatusOr<std::unique_ptr<SqliteDatabase>> TakeReader();
  void ReturnReader(std::unique_ptr<SqliteDatabase> reader);

  const SqliteOptions sqlite_;
  Clock& clock_;
  const std::function<void(absl::Duration, int)> on_commit_;
  const std::shared_ptr<JobListeners> listeners_;
  const std::string instance_;
  const ProcessLock lock_;

  // The writer thread's own, after Open.
  std::unique_ptr<SqliteDatabase> writer_;
  int64_t commits_ = 0;
  int wal_pages_ = 0;
  DiskReserve reserve_;
  absl::Duration next_refill_;  // Boottime.

  Mutex mutex_;
  CondVar work_;  // The queue has grown, or closing.
  std::deque<PendingWrite*> queue_ ABSL_GUARDED_BY(mutex_);
  bool closing_ ABSL_GUARDED_BY(mutex_) = false;

  Mutex readers_mutex_;
  CondVar reader_free_;
  std::vector<std::unique_ptr<SqliteDatabase>> readers_ ABSL_GUARDED_BY(readers_mutex_);
  int readers_out_ ABSL_GUARDED_BY(readers_mutex_) = 0;

  std::thread thread_;
};

absl::Status SqliteBackend::OpenWriterConnection() {
  writer_ = nullptr;
  ASSIGN_OR_RETURN(writer_, OpenWriter(sqlite_.path, sqlite_.vfs));
  sqlite3_wal_hook(writer_->handle(), NoteWalSize, &wal_pages_);
  return absl::OkStatus();
}

absl::Status SqliteBackend::Write(WritePlace place, const WriteBody& body) {
  PendingWrite write;
  write.place = place;
  write.body = &body;
  MutexLock lock(mutex_);
  if (closing_) return absl::UnavailableError("the store is closed");
  queue_.push_back(&write);
  work_.NotifyOne();
  while (!write.done) write.answered.Wait(mutex_);
  return write.status;
}

std::vector<PendingWrite*> SqliteBackend::TakeGroup() {
  {
    MutexLock lock(mutex_);
    while (queue_.empty() && !closing_) work_.Wait(mutex_);
    if (queue_.empty()) return {};
  }
  // Whoever comes meanwhile shares the commit.
  listeners_->WaitForRoom();
  MutexLock lock(mutex_);
  std::vector<PendingWrite*> group;
  while (!queue_.empty() && group.size() < kMaxGroup) {
    if (!group.empty() && queue_.front()->place == WritePlace::kFirst) break;
    group.push_back(queue_.front());
    queue_.pop_front();
  }
  return group;
}

void SqliteBackend::RunWriter() {
  while (true) {
    const std::vector<PendingWrite*> group = TakeGroup();
    if (group.empty()) return;
    RunGroup(group);
    for (PendingWrite* write : group) {
      if (write->status.ok() && write->effects.after_commit != nullptr) {
        write->effects.after_commit();
      }
    }
    {
      MutexLock lock(mutex_);
      for (PendingWrite* write : group) {
        if (write->status.ok()) listeners_->Enqueue(std::move(write->effects.changes));
        write->done = true;
        write->answered.NotifyOne();
      }
    }
    if (wal_pages_ >= kCheckpointPages) Checkpoint(SQLITE_CHECKPOINT_PASSIVE);
    KeepReserve();
  }
}

void SqliteBackend::KeepReserve() {
  if (reserve_.full() || clock_.Boottime() < next_refill_) return;
  reserve_.Refill();
  next_refill_ = clock_.Boottime() + kRefillInterval;
}

void SqliteBackend::RunGroup(const std::vector<PendingWrite*>& group) {
  absl::Status status = TryGroup(group);
  if (group.size() == 1 && group[0]->MakesRoom() && ReasonOf(status) == kReasonDiskFull &&
      reserve_.Free()) {
    status = TryGroup(group);
    reserve_.Refill();  // Before another write takes what is left.
  }
  if (status.ok()) return;
  // Where it is not known whether they are stored, running them again could store them twice.
  if (group.size() == 1 || ReasonOf(status) == kReasonOutcomeUnknown) {
    for (PendingWrite* write : group) {
      if (write->changed_rows || !write->ran) write->status = status;
    }
    return;
  }
  // One of them may have taken the others down with it (a full disk ends the whole transaction).
  for (PendingWrite* write : group) RunGroup({write});
}

absl::Status SqliteBackend::TryGroup(const std::vector<PendingWrite*>& group) {
  if (writer_ == nullptr) {
    RETURN_IF_ERROR(OpenWriterConnection());
    // A commit whose outcome was not known may have taken place.
    ASSIGN_OR_RETURN(commits_, ReadCommits(*writer_));
  }
  for (PendingWrite* write : group) write->ran = false;
  const absl::Duration begin = Clock::Real().Boottime();
  const int64_t commits_before = commits_;
  const int64_t changes_before = writer_->TotalChanges();
  absl::Status status = writer_->Run(kBeginWriting);
  int stored = 0;
  for (PendingWrite* write : group) {
    if (status.ok()) status = RunInSavepoint(*write);
    if (write->status.ok()) ++stored;
  }
  if (status.ok()) status = Commit(changes_before);
  if (!status.ok() && writer_ != nullptr && writer_->InTransaction()) {
    writer_->Run(kRollback).IgnoreError();
  }
  if (commits_ > commits_before && on_commit_ != nullptr) {
    on_commit_(Clock::Real().Boottime() - begin, stored);
  }
  return status;
}

absl::Status SqliteBackend::RunInSavepoint(PendingWrite& write) {
  SqliteTables tables(*writer_);
  write.effects = {};
  const int64_t changes_before = writer_->TotalChanges();
  RETURN_IF_ERROR(writer_->Run(kSavepoint));
  write.status = (*write.body)(tables, write.effects);
  write.ran = true;
  write.changed_rows = writer_->TotalChanges() != changes_before;
  if (!writer_->InTransaction()) {
    return write.status.ok() ? absl::InternalError("a write ended the transaction") : write.status;
  }
  if (!write.status.ok()) RETURN_IF_ERROR(writer_->Run(kUndoWrite));
  return writer_->Run(kRelease);
}

absl::Status SqliteBackend::Commit(int64_t changes_before) {
  // Renewals of leases and refused writes leave nothing to make durable.
  if (writer_->TotalChanges() == changes_before) return writer_->Run(kCommit);
  RETURN_IF_ERROR(CountCommit(*writer_, instance_, commits_ + 1));
  const absl::Status status = writer_->Run(kCommit);
  if (!status.ok()) RETURN_IF_ERROR(ResolveCommit(status));
  ++commits_;
  return absl::OkStatus();
}

absl::Status SqliteBackend::ResolveCommit(const absl::Status& error) {
  // A new connection sees what the log really holds.
  absl::StatusOr<int64_t> commits = absl::UnknownError("");
  if (OpenWriterConnection().ok()) commits = ReadCommits(*writer_);
  if (!commits.ok()) {
    writer_ = nullptr;
    return WithReason(absl::UnavailableError(absl::StrCat(
                          "it is not known whether the change was stored: ", error.message())),
                      kReasonOutcomeUnknown);
  }
  return *commits > commits_ ? absl::OkStatus() : error;
}

void SqliteBackend::Checkpoint(int mode) {
  if (writer_ == nullptr) return;
  Failpoint("store", "checkpoint", "before");
  // What it could not copy, since a reader still needs it or the disk is full, the next one will.
  if (sqlite3_wal_checkpoint_v2(writer_->handle(), nullptr, mode, nullptr, nullptr) != SQLITE_OK) {
    writer_->Error("checkpoint").IgnoreError();  // Ends the process if a sync failed.
  }
  Failpoint("store", "checkpoint", "after");
}

absl::StatusOr<std::unique_ptr<SqliteDatabase>> SqliteBackend::TakeReader() {
  {
    MutexLock lock(readers_mutex_);
    while (readers_.empty() && readers_out_ >= kMaxReaders) reader_free_.Wait(readers_mutex_);
    ++readers_out_;
    if (!readers_.empty()) {
      std::unique_ptr<SqliteDatabase> reader = std::move(readers_.back());
      readers_.pop_back();
      return reader;
    }
  }
  return OpenReader(sqlite_.path, sqlite_.vfs);
}

void SqliteBackend::ReturnReader(std::unique_ptr<SqliteDatabase> reader) {
  MutexLock lock(readers_mutex_);
  --readers_out_;
  if (reader != nullptr) readers_.push_back(std::move(reader));
  reader_free_.NotifyOne();
}

absl::Status SqliteBackend::ReadWith(const std::function<absl::Status(SqliteDatabase&)>& body) {
  absl::StatusOr<std::unique_ptr<SqliteDatabase>> reader = TakeReader();
  if (!reader.ok()) {
    ReturnReader(nullptr);
    return reader.status();
  }
  absl::Status status = (*reader)->Run(kBegin);
  if (status.ok()) {
    status = body(**reader);
    const absl::Status ended = (*reader)->Run(kRollback);
    // A connection that cannot end its snapshot would keep the WAL from ever being reset.
    if (!ended.ok()) reader->reset();
  }
  ReturnReader(*std::move(reader));
  return status;
}

absl::Status SqliteBackend::Read(const ReadBody& body) {
  return ReadWith([&](SqliteDatabase& reader) {
    SqliteTables tables(reader);
    return body(tables);
  });
}

absl::StatusOr<std::vector<std::string>> SqliteBackend::FindDamage() {
  std::vector<std::string> damage;
  RETURN_IF_ERROR(ReadWith([&](SqliteDatabase& reader) -> absl::Status {
    ASSIGN_OR_RETURN(damage, FindDamageIn(reader));
    return absl::OkStatus();
  }));
  return damage;
}

absl::Status SqliteBackend::CopyTo(const std::string& path, const ByteProgress& progress) {
  return ReadWith([&](SqliteDatabase& reader) { return CopyDatabase(reader, path, progress); });
}

}  // namespace

absl::StatusOr<std::unique_ptr<Backend>> OpenSqliteBackend(
    const SqliteOptions& sqlite, const StoreOptions& options,
    std::shared_ptr<JobListeners> listeners) {
  ASSIGN_OR_RETURN(ProcessLock lock, LockStoreFile(sqlite.path));
  auto backend =
      std::make_unique<SqliteBackend>(sqlite, options, std::move(listeners), std::move(lock));
  RETURN_IF_ERROR(backend->Open());
  return backend;
}

}  // namespace graft
