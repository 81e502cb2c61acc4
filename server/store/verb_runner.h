#pragma once

// Runs verbs (functions of a VerbContext) in transactions of a backend.

#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/base/failpoint.h"
#include "common/base/status_macros.h"
#include "server/store/tables.h"
#include "server/store/verb_context.h"
#include "server/store/volatile_times.h"

namespace graft {

// Thread-safe.
class VerbRunner {
 public:
  VerbRunner(StoreOptions options, std::unique_ptr<Backend> backend, IdentityRow identity)
      : options_(std::move(options)),
        identity_(std::move(identity)),
        opened_(options_.clock->Boottime()),
        backend_(std::move(backend)) {}

  const StoreOptions& options() const { return options_; }
  const IdentityRow& identity() const { return identity_; }  // As it was when it was opened.
  const VolatileTimes& times() const { return times_; }
  Backend& backend() { return *backend_; }
  absl::Duration RunningTime() const {
    return identity_.running_time + (options_.clock->Boottime() - opened_);
  }

  // `name`: the calling method's, of its failpoints.
  template <typename T, typename Verb>
  absl::StatusOr<T> Write(const Verb& verb, WritePlace place = WritePlace::kAnywhere,
                          const char* name = __builtin_FUNCTION()) {
    absl::StatusOr<T> result;
    RETURN_IF_ERROR(WriteStatus(
        [&](VerbContext& context) {
          result = verb(context);
          return result.status();
        },
        place, name));
    return result;
  }
  template <typename Verb>
  absl::Status WriteStatus(const Verb& verb, WritePlace place = WritePlace::kAnywhere,
                           const char* name = __builtin_FUNCTION()) {
    absl::Status status = backend_->Write(place, [&](Tables& tables, WriteEffects& effects) {
      VerbContext context = {tables, options_, times_, RunningTime()};
      absl::Status done = verb(context);
      TakeEffects(context, effects);
      Failpoint("store", name, "before_commit");
      return done;
    });
    Failpoint("store", name, "after_commit");
    return status;
  }
  template <typename Verb>
  absl::Status ReadStatus(const Verb& verb) {
    return backend_->Read([&](Tables& tables) {
      VerbContext context = {tables, options_, times_, RunningTime()};
      return verb(context);
    });
  }
  template <typename T, typename Verb>
  absl::StatusOr<T> Read(const Verb& verb) {
    absl::StatusOr<T> result;
    RETURN_IF_ERROR(ReadStatus([&](VerbContext& context) {
      result = verb(context);
      return result.status();
    }));
    return result;
  }

 private:
  void TakeEffects(VerbContext& context, WriteEffects& effects) {
    effects.changes = std::move(context.changes);
    effects.makes_room = context.makes_room;
    if (context.after_commit.empty()) return;
    effects.after_commit = [this, all = std::move(context.after_commit)] {
      for (const auto& change : all) change(times_);
    };
  }

  const StoreOptions options_;
  const IdentityRow identity_;
  const absl::Duration opened_;  // Boottime.
  VolatileTimes times_;
  const std::unique_ptr<Backend> backend_;
};

}  // namespace graft
