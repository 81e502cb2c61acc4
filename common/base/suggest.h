#pragma once

// "did you mean": what a mistyped word was most likely meant to be.

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace graft {

// `word` as words are compared: in lower case, '-' for '_'.
std::string Folded(absl::string_view word);

// The candidate that is nearest to `word`: few letters wrong, missing or swapped; else one that it
// begins, or is a part of between dashes ("--model" of "--base-model"); else one whose parts begin
// with its letters ("--lr" of "--learning-rate"). Empty when none is near.
std::string Nearest(absl::string_view word, const std::vector<std::string>& candidates);

// "; did you mean CANDIDATE?", or nothing.
std::string DidYouMean(absl::string_view word, const std::vector<std::string>& candidates);

// INVALID_ARGUMENT: `word` is none of the candidates; with the one that it was meant to be.
absl::Status NotOneOf(absl::string_view word, const std::vector<std::string>& candidates);

}  // namespace graft
