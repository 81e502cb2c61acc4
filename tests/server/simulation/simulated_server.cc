#include "tests/server/simulation/simulated_server.h"

#include <utility>

#include "common/base/file.h"
#include "server/store/memory_backend.h"
#include "server/store/sqlite_backend.h"
#include "server/store/transactional_store.h"

namespace graft::simulation {

SimulatedServer::SimulatedServer(StoreKind kind, StoreOptions options, bool preemption,
                                 Scheduler::PresentWorkers present)
    : kind_(kind),
      preemption_(preemption),
      present_(std::move(present)),
      options_(std::move(options)) {
  options_.clock = &clock_;
  options_.new_job_id = [this] { return "j" + std::to_string(++ids_); };
  if (keeps_rows()) {
    directory_ = JoinPath(FastDirectory(), "graft-simulation-XXXXXX");
    EXPECT_NE(::mkdtemp(directory_.data()), nullptr);
  }
  OpenStore();
  StoreFixture::Fill(*store_);
  StartScheduler();
}

SimulatedServer::~SimulatedServer() {
  scheduler_.reset();
  store_.reset();
  if (!keeps_rows()) return;
  EXPECT_OK(RemoveTree(directory_));
}

void SimulatedServer::OpenStore() {
  auto listeners = std::make_shared<JobListeners>();
  std::unique_ptr<Backend> backend;
  if (kind_ == StoreKind::kMemory) {
    backend = MakeMemoryBackend(options_, listeners);
  } else {
    auto opened =
        OpenSqliteBackend({.path = JoinPath(directory_, "graft.db")}, options_, listeners);
    ASSERT_OK(opened);
    backend = *std::move(opened);
  }
  auto faulty = std::make_unique<FaultyBackend>(std::move(backend), listeners, faults_);
  auto store = MakeTransactionalStore(options_, listeners, std::move(faulty));
  ASSERT_OK(store);
  store_ = *std::move(store);
}

void SimulatedServer::StartScheduler() {
  scheduler_ =
      std::make_unique<Scheduler>(*store_, clock_, Scheduler::Options{.preemption = preemption_});
  scheduler_->SetPresentWorkers(present_);
}

void SimulatedServer::Restart() {
  scheduler_.reset();
  if (keeps_rows()) {
    ASSERT_OK(store_->SaveRunningTime());
    store_.reset();
    OpenStore();
  }
  StartScheduler();
}

}  // namespace graft::simulation
