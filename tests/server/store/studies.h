#pragma once

// Studies for tests of the store.

#include <string>

#include "absl/strings/str_cat.h"
#include "common/studies/study_spec.h"
#include "google/protobuf/text_format.h"
#include "tests/server/store/store_fixture.h"

namespace graft {

// Of the method's ranks 1, 2, …, `points` of them, each with `repeats` trials of 40 steps. `text`
// is of the study's other fields.
inline NewStudy RankStudy(int points, const std::string& text = "", int repeats = 1) {
  NewStudy made;
  v1::Study& study = made.study;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &study));
  study.set_repeats(repeats);
  *study.mutable_spec_template() = StoreFixture::LoraJob().job.resolved_spec();
  study.mutable_spec_template()->mutable_fine_tune()->mutable_training()->set_max_steps(40);
  ResolveStudy(study);
  for (int i = 0; i < points * repeats; ++i) {
    v1::Trial& trial = *study.add_trials();
    trial.set_number(i + 1);
    trial.set_point(i / repeats + 1);
    (*trial.mutable_parameters())["fine_tune.method.lora.rank"] = absl::StrCat(i / repeats + 1);
    v1::Job& job = made.jobs.emplace_back();
    *job.mutable_spec() = study.spec_template();
    *job.mutable_resolved_spec() = study.spec_template();
  }
  return made;
}

inline constexpr char kHalving[] = "successive_halving { min_steps: 10 reduction_factor: 2 }";

}  // namespace graft
