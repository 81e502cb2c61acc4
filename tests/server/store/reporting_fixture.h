#pragma once

// What tests of an attempt's reports share.

#include <utility>
#include <vector>

#include "tests/server/store/store_fixture.h"

namespace graft {

class ReportingTest : public StoreTest {
 protected:
  int64_t Append(const LeaseRef& lease, int64_t number, std::vector<v1::JobEvent> events) {
    const auto last = store().AppendEvents(lease, StoreFixture::Batch(number, std::move(events)));
    EXPECT_OK(last);
    return last.ok() ? *last : -1;
  }
  // A second attempt at the job of `lease`, whose worker was lost.
  LeaseRef Resume(const LeaseRef& lease) {
    EXPECT_OK(store().ReleaseOtherInstances({lease.worker.id, "restarted"}));
    fixture_.clock().Advance(absl::Seconds(60));
    const auto claim = fixture_.ClaimNext(kOtherWorker);
    EXPECT_OK(claim);
    return claim.ok() ? fixture_.LeaseOf(*claim, kOtherWorker) : LeaseRef();
  }
  void ExpectGapFree(const std::string& job) {
    int64_t expected = 0;
    for (const v1::JobEvent& event : fixture_.Events(job)) {
      EXPECT_EQ(event.sequence(), ++expected);
    }
    EXPECT_EQ(fixture_.Get(job).last_sequence(), expected);
  }
};

}  // namespace graft
