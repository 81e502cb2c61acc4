#pragma once

// A SQLite store whose writes and syncs fail when told to (tests/fakes/fault_vfs.h).

#include <memory>
#include <utility>

#include "server/store/sqlite_backend.h"
#include "server/store/transactional_store.h"
#include "tests/fakes/fault_vfs.h"
#include "tests/server/store/store_fixture.h"

namespace graft {

// Beside the fixture's own store, with its options and the same resources.
inline std::unique_ptr<JobStore> OpenFaultyStore(StoreFixture& fixture) {
  auto listeners = std::make_shared<JobListeners>();
  const StoreOptions options = FillDefaults(fixture.options());
  auto backend =
      OpenSqliteBackend({JoinPath(fixture.root(), "faulty.db"), FaultVfs()}, options, listeners);
  EXPECT_OK(backend);
  auto store = MakeTransactionalStore(options, listeners, *std::move(backend));
  EXPECT_OK(store);
  StoreFixture::Fill(**store);
  return *std::move(store);
}

}  // namespace graft
