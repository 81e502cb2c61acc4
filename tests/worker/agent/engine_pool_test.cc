#include "worker/agent/engine_pool.h"

#include <thread>

#include "common/base/clock.h"
#include "gtest/gtest.h"
#include "tests/worker/agent/scripted_engine.h"

namespace graft {
namespace {

using engine::v1::EngineCommand;

class EnginePoolTest : public ::testing::Test {
 protected:
  EnginePoolTest() : pool_(Idle(), launcher_, clock_) {}
  static EnginePool::Options Idle() {
    EnginePool::Options options;
    options.idle = absl::Minutes(5);
    return options;
  }
  std::unique_ptr<EngineLoan> Borrow(const std::string& base) {
    EnginePool::Borrower borrower;
    borrower.subject = "s" + std::to_string(++subjects_);
    borrower.base = base;
    auto loan = pool_.Borrow(borrower);
    EXPECT_TRUE(loan.ok()) << loan.status();
    return *std::move(loan);
  }
  // Borrows and gives back; which engine it was.
  size_t Use(const std::string& base) {
    const std::unique_ptr<EngineLoan> loan = Borrow(base);
    const size_t engine = Which(*loan);
    loan->GiveBack();
    return engine;
  }
  size_t Which(EngineLoan& loan) {
    EngineCommand command;
    command.mutable_fence()->set_boottime_ns(subjects_);
    EXPECT_TRUE(loan.Send(command).ok());
    for (size_t n = 0;; ++n) {
      if (launcher_.Script(n)->LastCommand().fence().boottime_ns() == subjects_) return n;
    }
  }

  FakeClock clock_;
  ScriptedLauncher launcher_;
  EnginePool pool_;
  int64_t subjects_ = 0;
};

TEST_F(EnginePoolTest, AnEngineThatIsGivenBackServesTheNext) {
  EXPECT_EQ(Use("a"), 0);
  EXPECT_EQ(Use("a"), 0);
  EXPECT_EQ(Use("b"), 0) << "another base model needs no other engine";
  EXPECT_EQ(launcher_.launched(), 1);
}

TEST_F(EnginePoolTest, TheEngineThatHoldsTheBaseModelIsPreferred) {
  {
    const auto a = Borrow("a"), b = Borrow("b"), c = Borrow("c");
    for (EngineLoan* loan : {a.get(), b.get(), c.get()}) {
      loan->GiveBack();
      clock_.Advance(absl::Seconds(1));
    }
  }
  EXPECT_EQ(Use("c"), 2);
  EXPECT_EQ(Use("b"), 1);
  EXPECT_EQ(Use("d"), 0) << "the one that was idle longest";
  EXPECT_EQ(Use("d"), 0);
  EXPECT_EQ(launcher_.launched(), 3);
}

TEST_F(EnginePoolTest, AnEngineThatIsNotGivenBackIsEnded) {
  Borrow("a").reset();
  EXPECT_TRUE(launcher_.Script(0)->dead());
  EXPECT_EQ(Use("a"), 1);
}

TEST_F(EnginePoolTest, AnEngineThatDiedWhileItWasIdleIsNotLent) {
  EXPECT_EQ(Use("a"), 0);
  launcher_.Script(0)->Crash();
  EXPECT_EQ(Use("a"), 1);
}

TEST_F(EnginePoolTest, AnEngineThatIsIdleForLongIsEnded) {
  const auto busy = Borrow("a");
  EXPECT_EQ(Use("b"), 1);
  clock_.Advance(absl::Minutes(4));
  EXPECT_EQ(Use("b"), 1);  // From here on it counts anew.
  clock_.Advance(absl::Minutes(4));
  EXPECT_EQ(Use("b"), 1);
  clock_.Advance(absl::Minutes(5));
  launcher_.Script(1)->WaitForDeath();
  EXPECT_FALSE(launcher_.Script(0)->dead());
  EXPECT_EQ(Use("b"), 2);
  busy->GiveBack();
}

TEST_F(EnginePoolTest, ATextJoinsTheJobOnItsBaseModel) {
  const auto job = Borrow("a");
  EnginePool::Borrower text;
  text.is_text = true;
  text.subject = "t1";
  text.base = "b";
  EXPECT_EQ(pool_.Join(text), nullptr);
  text.base = "a";
  const auto guest = pool_.Join(text);
  ASSERT_NE(guest, nullptr);
  EXPECT_EQ(Which(*guest), 0);
  text.subject = "t2";
  const auto from_slot = pool_.Borrow(text).value();
  EXPECT_TRUE(from_slot->is_guest());
  from_slot->GiveBack();
  job->GiveBack();
  EXPECT_TRUE(pool_.held().idle.empty()) << "the guest is still there";
  EXPECT_EQ(Use("b"), 0) << "a job may come behind its text";
  guest->GiveBack();
  EXPECT_EQ(pool_.held().idle, std::set<std::string>{"b"});
  EXPECT_EQ(launcher_.launched(), 1);
}

TEST_F(EnginePoolTest, AGuestThatLeavesInTheMiddleIsCancelledAndEndsNothing) {
  const auto job = Borrow("a");
  EnginePool::Borrower text;
  text.is_text = true;
  text.subject = "t";
  text.base = "a";
  pool_.Join(text).reset();
  const EngineCommand last = launcher_.Script(0)->LastCommand();
  EXPECT_TRUE(last.has_cancel());
  EXPECT_EQ(last.job(), "t");
  EXPECT_FALSE(launcher_.Script(0)->dead());
  job->GiveBack();
}

TEST_F(EnginePoolTest, AnEngineThatDoesNotStartSaysWhy) {
  launcher_.FailWith(absl::NotFoundError("no program"));
  EXPECT_TRUE(absl::IsNotFound(pool_.Borrow({}).status()));
}

TEST_F(EnginePoolTest, StoppingEndsAllAndStartsNone) {
  const auto busy = Borrow("a");
  EXPECT_EQ(Use("b"), 1);
  pool_.Stop();
  EXPECT_TRUE(launcher_.Script(0)->dead());
  EXPECT_TRUE(launcher_.Script(1)->dead());
  EXPECT_TRUE(absl::IsCancelled(pool_.Borrow({}).status()));
  busy->GiveBack();  // As one may who has not seen it yet.
}

}  // namespace
}  // namespace graft
