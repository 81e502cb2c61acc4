#include "server/store/memory_backend.h"

#include <utility>

#include "common/base/mutex.h"
#include "server/store/memory_tables.h"

namespace graft {
namespace {

class MemoryBackend : public Backend {
 public:
  MemoryBackend(const StoreOptions& options, std::shared_ptr<JobListeners> listeners)
      : on_commit_(options.on_commit), listeners_(std::move(listeners)) {}

  absl::Status Write(WritePlace, const WriteBody& body) override {
    listeners_->WaitForRoom();
    {
      MutexLock lock(mutex_);
      WriteEffects effects;
      const absl::Status status = body(tables_, effects);
      if (!status.ok()) {
        tables_.Rollback();
        return status;
      }
      tables_.Commit();
      if (effects.after_commit != nullptr) effects.after_commit();
      listeners_->Enqueue(std::move(effects.changes));
    }
    if (on_commit_ != nullptr) on_commit_(absl::ZeroDuration(), 1);
    return absl::OkStatus();
  }

  absl::Status Read(const ReadBody& body) override {
    MutexLock lock(mutex_);
    return body(tables_);
  }

  absl::StatusOr<std::vector<std::string>> FindDamage() override {
    return std::vector<std::string>();
  }
  absl::Status CopyTo(const std::string&, const ByteProgress&) override {
    return absl::FailedPreconditionError(
        "--store memory: keeps nothing, so there is nothing to copy");
  }

 private:
  const std::function<void(absl::Duration, int)> on_commit_;
  const std::shared_ptr<JobListeners> listeners_;
  Mutex mutex_;
  MemoryTables tables_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace

std::unique_ptr<Backend> MakeMemoryBackend(const StoreOptions& options,
                                           std::shared_ptr<JobListeners> listeners) {
  return std::make_unique<MemoryBackend>(options, std::move(listeners));
}

}  // namespace graft
