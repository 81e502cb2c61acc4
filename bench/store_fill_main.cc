// Fills the store of a server that does not run with jobs: some that have ended, and then some that
// are queued. Prints one JSON line. parts/store.py measures what they cost those that ask.

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "server/store/job_verbs.h"
#include "server/store/life_verbs.h"
#include "server/store/sqlite_backend.h"
#include "server/store/transactional_store.h"

namespace graft {
namespace {

// What SQLite notes to undo a write is gone through by each of its statements.
constexpr int64_t kJobsOfCommit = 200;

struct Fill {
  std::string path;
  int64_t ended = 0;
  int64_t queued = 10'000;
};

// What submit_load_main.cc submits, resolved as the server does.
absl::StatusOr<NewJob> SmallJob(const std::string& path) {
  ASSIGN_OR_RETURN(const auto store, OpenJobStore("sqlite:" + path, {}));
  ASSIGN_OR_RETURN(const v1::Model model, store->GetModel("tiny"));
  ASSIGN_OR_RETURN(const v1::Dataset train, store->GetDataset("train"));
  NewJob job;
  job.job.set_display_name("load");
  v1::FineTuneSpec& spec = *job.job.mutable_resolved_spec()->mutable_fine_tune();
  spec.set_base_model(model.name());
  spec.set_base_model_sha256(model.sha256());
  spec.mutable_data()->set_train(train.name());
  spec.mutable_data()->set_train_sha256(train.sha256());
  spec.mutable_method()->mutable_lora()->set_rank(8);
  spec.mutable_training()->set_max_steps(6);
  *job.job.mutable_spec() = job.job.resolved_spec();
  return job;
}

absl::Status AddJob(VerbContext& context, NewJob job, int64_t number, bool end) {
  job.job.set_priority(static_cast<int>(number % 7));
  (*job.job.mutable_labels())["team"] = absl::StrCat(number % 100);
  ASSIGN_OR_RETURN(const v1::Job added, DoInsertJob(context, job));
  return end ? DoCancelJob(context, added.name(), {}).status() : absl::OkStatus();
}

absl::Status Run(const Fill& fill) {
  ASSIGN_OR_RETURN(const NewJob job, SmallJob(fill.path));
  const StoreOptions options = FillDefaults({});
  ASSIGN_OR_RETURN(const auto backend,
                   OpenSqliteBackend({fill.path}, options, std::make_shared<JobListeners>()));
  const VolatileTimes times;
  const int64_t all = fill.ended + fill.queued;
  for (int64_t begin = 0; begin < all; begin += kJobsOfCommit) {
    RETURN_IF_ERROR(backend->Write(WritePlace::kAnywhere, [&](Tables& tables, WriteEffects&) {
      VerbContext context = {tables, options, times, absl::ZeroDuration()};
      for (int64_t number = begin; number < std::min(all, begin + kJobsOfCommit); ++number) {
        RETURN_IF_ERROR(AddJob(context, job, number, number < fill.ended));
        context.changes.clear();
        context.after_commit.clear();
      }
      return absl::OkStatus();
    }));
  }
  return absl::OkStatus();
}

}  // namespace
}  // namespace graft

int main(int argc, char** argv) {
  graft::Fill fill;
  CLI::App app("Fills the store of a server that does not run with jobs.");
  app.add_option("--store", fill.path, "its file")->required();
  app.add_option("--ended", fill.ended, "so many jobs that have ended, and then");
  app.add_option("--queued", fill.queued, "so many that are queued");
  CLI11_PARSE(app, argc, argv);
  if (const absl::Status status = graft::Run(fill); !status.ok()) {
    std::fprintf(stderr, "%s\n", status.ToString().c_str());
    return 1;
  }
  std::printf("{\"jobs\": %lld}\n", static_cast<long long>(fill.ended + fill.queued));
  return 0;
}
