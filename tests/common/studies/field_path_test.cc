#include "common/studies/field_path.h"

#include "gmock/gmock.h"
#include "graft/v1/spec.pb.h"
#include "gtest/gtest.h"

namespace graft {
namespace {

using ::testing::ElementsAre;

TEST(FieldPathTest, FieldsAreFoundByTheirPaths) {
  const auto& type = *v1::JobSpec::descriptor();
  EXPECT_NE(FindField(type, "fine_tune"), nullptr);
  EXPECT_EQ(FindField(type, "fine_tune.method.lora.rank")->name(), "rank");
  for (const char* wrong : {"", "fine_tune.", ".fine_tune", "fine_tune.nothing",
                            "fine_tune.method.lora.rank.more", "fine_tune.method.lora.layers.0"}) {
    EXPECT_EQ(FindField(type, wrong), nullptr) << wrong;
  }
}

TEST(FieldPathTest, JsonReplacesWhatAFieldHas) {
  v1::JobSpec spec;
  auto& lora = *spec.mutable_fine_tune()->mutable_method()->mutable_lora();
  lora.add_layers(1);
  lora.set_rank(4);
  EXPECT_TRUE(SetFromJson(spec, "fine_tune.method.lora.layers", "[2, 3]").ok());
  EXPECT_THAT(lora.layers(), ElementsAre(2, 3));
  EXPECT_EQ(lora.rank(), 4);
  EXPECT_TRUE(SetFromJson(spec, "fine_tune.training.seed", "\"18446744073709551615\"").ok());
  EXPECT_EQ(spec.fine_tune().training().seed(), 18446744073709551615u);
  const v1::JobSpec before = spec;
  EXPECT_EQ(SetFromJson(spec, "fine_tune.method.lora.rank", "2.5").code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(spec.SerializeAsString(), before.SerializeAsString()) << "nothing of it";
}

TEST(FieldPathTest, ClearingMakesNothing) {
  v1::JobSpec spec;
  ClearField(spec, "fine_tune.method.lora.rank");
  EXPECT_FALSE(spec.has_fine_tune());
  spec.mutable_fine_tune()->mutable_method()->mutable_lora()->set_rank(4);
  ClearField(spec, "fine_tune.method.lora.rank");
  EXPECT_FALSE(spec.fine_tune().method().lora().has_rank());
}

}  // namespace
}  // namespace graft
