#pragma once

// What makes a study valid, and what its defaults are.

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "graft/v1/study.pb.h"

namespace graft {

inline constexpr int kMaxTrials = 1000;
inline constexpr int kMaxDimensions = 16;
inline constexpr int kMaxChoices = 1000;
inline constexpr int kMaxRepeats = 100;
inline constexpr int kMaxRungs = 100;

// All that can be said without looking at single points and what the template names: the fields of
// `space`, what excludes what, whether trials will have the objective. INVALID_ARGUMENT with every
// violation; paths begin with `path`, e.g. "study".
absl::Status ValidateStudy(const v1::Study& study, absl::string_view path);

// Fills in the defaults of a valid study, rung_steps, and what of the template follows from how
// trials are stopped (training.eval_every_steps). Leaves names to the store.
void ResolveStudy(v1::Study& study);

// Of the template; 0: not known before training (epochs, an evaluation).
int64_t TotalStepsOf(const v1::Study& study);

// Whether a small objective is the better one. Of a resolved study.
bool Minimizes(const v1::Objective& objective);

}  // namespace graft
