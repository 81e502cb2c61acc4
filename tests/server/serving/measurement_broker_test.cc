#include "server/serving/measurement_broker.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <thread>

#include "common/base/stop_signal.h"

namespace graft {
namespace {

using ::testing::HasSubstr;
using worker::v1::Command;

class MeasurementBrokerTest : public ::testing::Test {
 protected:
  std::shared_ptr<WorkerHub::Link> Connect(const std::string& id, bool measures = true) {
    worker::v1::ConnectRequest hello;
    hello.mutable_worker()->set_id(id);
    hello.set_slots(1);
    hello.set_measures(measures);
    return *hub_.Connect(hello, std::make_shared<StreamWaker>([this] { told_.Stop(); }));
  }

  using Answer = absl::StatusOr<v1::JobMeasurement>;
  std::future<Answer> Measure() {
    return std::async(std::launch::async, [this] {
      worker::v1::Lease lease;
      lease.set_display_name("planned");
      return broker_.Measure(std::move(lease), [this] { return gone_.load(); });
    });
  }

  // What the worker is told, as soon as it is.
  Command::Measure Told(const std::shared_ptr<WorkerHub::Link>& link) {
    told_.WaitFor(absl::InfiniteDuration());
    Command command;
    EXPECT_EQ(*link->Next(&command), SourceState::kMessage);
    return command.measure();
  }

  static worker::v1::ReportMeasurementRequest ReportOf(const std::string& worker,
                                                       const std::string& id) {
    worker::v1::ReportMeasurementRequest report;
    report.set_id(id);
    report.mutable_worker()->set_id(worker);
    report.mutable_measured()->set_seconds(7);
    return report;
  }

  FakeClock clock_;
  WorkerHub hub_{clock_};
  MeasurementBroker broker_{hub_, clock_, /*max_measured=*/2};
  std::atomic<bool> gone_ = false;
  StopSignal told_{Clock::Real()};
};

TEST_F(MeasurementBrokerTest, NobodyIsThereOrIdle) {
  EXPECT_THAT(std::string(Measure().get().status().message()), HasSubstr("no worker is connected"));
  const auto old = Connect("w1", /*measures=*/false);
  EXPECT_THAT(std::string(Measure().get().status().message()), HasSubstr("no worker is idle"));
  const auto busy = Connect("w2");
  hub_.Seen("w2", /*free_slots=*/0);
  EXPECT_TRUE(absl::IsUnavailable(Measure().get().status()));
}

TEST_F(MeasurementBrokerTest, AnIdleWorkerAnswers) {
  const auto worker = Connect("w1");
  std::future<Answer> answer = Measure();
  const Command::Measure told = Told(worker);
  EXPECT_EQ(told.lease().display_name(), "planned");
  EXPECT_GT(told.time_limit().seconds(), 0);
  EXPECT_LT(told.time_limit().seconds(), absl::ToInt64Seconds(kMeasureTime));
  EXPECT_EQ(hub_.workers()[0].free_slots, 0);

  EXPECT_TRUE(absl::IsNotFound(broker_.Report(ReportOf("w2", told.id()))));
  EXPECT_TRUE(absl::IsNotFound(broker_.Report(ReportOf("w1", "m77"))));
  EXPECT_TRUE(broker_.Report(ReportOf("w1", told.id())).ok());
  const Answer measured = answer.get();
  ASSERT_TRUE(measured.ok()) << measured.status();
  EXPECT_EQ(measured->seconds(), 7);
  EXPECT_EQ(measured->worker(), "w1");
  EXPECT_EQ(hub_.workers()[0].free_slots, 1);
  EXPECT_TRUE(absl::IsNotFound(broker_.Report(ReportOf("w1", told.id()))));
}

TEST_F(MeasurementBrokerTest, WhyItCouldNotIsHandedOn) {
  const auto worker = Connect("w1");
  std::future<Answer> answer = Measure();
  worker::v1::ReportMeasurementRequest report = ReportOf("w1", Told(worker).id());
  report.mutable_error()->set_code(static_cast<int>(absl::StatusCode::kResourceExhausted));
  report.mutable_error()->set_message("a row needs 9 GB");
  EXPECT_TRUE(broker_.Report(report).ok());
  EXPECT_EQ(answer.get().status(), absl::ResourceExhaustedError("a row needs 9 GB"));
}

TEST_F(MeasurementBrokerTest, NobodyWaitsForever) {
  const auto worker = Connect("w1");
  std::future<Answer> late = Measure();
  const std::string id = Told(worker).id();
  clock_.Advance(kMeasureTime);
  EXPECT_TRUE(absl::IsDeadlineExceeded(late.get().status()));
  EXPECT_TRUE(absl::IsNotFound(broker_.Report(ReportOf("w1", id))));
  gone_ = true;
  EXPECT_TRUE(absl::IsCancelled(Measure().get().status()));
}

TEST_F(MeasurementBrokerTest, NoMoreThanSoManyWait) {
  const auto first = Connect("w1"), second = Connect("w2"), third = Connect("w3");
  std::future<Answer> waiting[] = {Measure(), Measure()};
  while (hub_.workers()[0].free_slots + hub_.workers()[1].free_slots +
             hub_.workers()[2].free_slots >
         1) {
    std::this_thread::yield();
  }
  Answer refused = Measure().get();
  EXPECT_THAT(std::string(refused.status().message()), HasSubstr("other jobs are being measured"));
  for (std::future<Answer>& each : waiting) {
    // Whenever it began.
    while (each.wait_for(std::chrono::seconds(0)) != std::future_status::ready) {
      clock_.Advance(kMeasureTime);
    }
    EXPECT_TRUE(absl::IsDeadlineExceeded(each.get().status()));
  }
}

TEST_F(MeasurementBrokerTest, AWorkerThatIsLostEndsIt) {
  const auto worker = Connect("w1");
  std::future<Answer> answer = Measure();
  Told(worker);
  hub_.Disconnect(worker);
  broker_.WorkerLost("w1");
  EXPECT_THAT(std::string(answer.get().status().message()), HasSubstr("w1 was lost"));
}

}  // namespace
}  // namespace graft
