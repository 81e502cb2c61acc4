#include "worker/engine/adapters/held_adapters.h"

#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/methods/lora.h"
#include "tests/fakes/temp_dir.h"
#include "tests/worker/engine/golden.h"

namespace graft {
namespace {

class HeldAdaptersTest : public testing::Test {
 protected:
  void SetUp() override {
    MethodConfig method;
    method.Set(LoraConfig());
    const auto set = AdapterSet::Create(*model_, method, 1);
    ASSERT_TRUE(set.ok()) << set.status();
    for (size_t i = 0; i <= HeldAdapters::kMaxHeld; ++i) {
      ASSERT_TRUE(CreateDirectories(Adapter(i)).ok());
      ASSERT_TRUE((*set)->Save(Adapter(i), {"golden", "", nullptr}).ok());
    }
  }
  std::string Adapter(size_t number) { return directory_.Path(absl::StrCat("adapter", number)); }
  std::shared_ptr<const HeldAdapters::Adapter> Get(size_t number) {
    const auto adapter = held_.Get(*model_, Adapter(number));
    EXPECT_TRUE(adapter.ok()) << adapter.status();
    return adapter.value_or(nullptr);
  }

  const TempDir directory_;
  const std::unique_ptr<Gpt2Model> model_ = GoldenModel();
  HeldAdapters held_;
};

TEST_F(HeldAdaptersTest, ThatWhichWasUsedLongestAgoLeaves) {
  const auto first = Get(0), second = Get(1);
  for (size_t i = 2; i < HeldAdapters::kMaxHeld; ++i) Get(i);
  EXPECT_EQ(Get(0), first);  // Used again.
  Get(HeldAdapters::kMaxHeld);
  EXPECT_EQ(held_.size(), HeldAdapters::kMaxHeld);
  EXPECT_EQ(Get(0), first);
  // Whoever computes with it still has it.
  EXPECT_EQ(second.use_count(), 1);
  EXPECT_EQ(second->set->tensors().size(), first->set->tensors().size());
  EXPECT_NE(Get(1), second);
}

TEST_F(HeldAdaptersTest, WhatCannotBeReadIsNotHeld) {
  EXPECT_TRUE(absl::IsNotFound(held_.Get(*model_, directory_.Path("nowhere")).status()));
  EXPECT_EQ(held_.size(), 0u);
}

}  // namespace
}  // namespace graft
