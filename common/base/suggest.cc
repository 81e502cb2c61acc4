#include "common/base/suggest.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"

namespace graft {
namespace {

constexpr size_t kMaxWordBytes = 128;
// Kinds of likeness, the best first; a smaller number within a kind is nearer.
constexpr size_t kPrefix = 1000;
constexpr size_t kPart = 2000;
constexpr size_t kInitials = 3000;
constexpr size_t kUnlike = std::numeric_limits<size_t>::max();

// Letters that are wrong, missing, too many or swapped with their neighbour (optimal string
// alignment).
size_t Distance(absl::string_view a, absl::string_view b) {
  std::vector<size_t> before(b.size() + 1), last(b.size() + 1), row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) last[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      row[j] = std::min({last[j] + 1, row[j - 1] + 1, last[j - 1] + (a[i - 1] != b[j - 1])});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        row[j] = std::min(row[j], before[j - 2] + 1);
      }
    }
    before = std::exchange(last, row);
  }
  return last[b.size()];
}

std::string InitialsOf(absl::string_view candidate) {
  std::string initials;
  for (absl::string_view part : absl::StrSplit(candidate, '-', absl::SkipEmpty())) {
    initials += part[0];
  }
  return initials;
}

size_t Unlikeness(absl::string_view word, absl::string_view candidate) {
  const size_t distance = Distance(word, candidate);
  if (distance <= std::max<size_t>(1, word.size() / 3)) return distance;
  const size_t longer = candidate.size() - std::min(word.size(), candidate.size());
  if (word.size() > 1 && absl::StartsWith(candidate, word)) return kPrefix + longer;
  if (word.size() > 2 &&
      absl::StrContains(absl::StrCat("-", candidate, "-"), absl::StrCat("-", word, "-"))) {
    return kPart + longer;
  }
  return word.size() > 1 && InitialsOf(candidate) == word ? kInitials : kUnlike;
}

absl::string_view WithoutDashes(absl::string_view word) {
  return word.substr(std::min(word.find_first_not_of('-'), word.size()));
}

}  // namespace

std::string Folded(absl::string_view word) {
  std::string folded = absl::AsciiStrToLower(word);
  std::replace(folded.begin(), folded.end(), '_', '-');
  return folded;
}

std::string Nearest(absl::string_view word, const std::vector<std::string>& candidates) {
  // No word: and how far it is from each takes the product of their lengths.
  if (word.size() > kMaxWordBytes) return "";
  const std::string folded = Folded(WithoutDashes(word));
  std::string nearest;
  size_t least = kUnlike;
  for (const std::string& candidate : candidates) {
    const size_t unlike = Unlikeness(folded, Folded(WithoutDashes(candidate)));
    if (unlike >= least) continue;
    least = unlike;
    nearest = candidate;
  }
  return nearest;
}

std::string DidYouMean(absl::string_view word, const std::vector<std::string>& candidates) {
  const std::string nearest = Nearest(word, candidates);
  return nearest.empty() ? "" : absl::StrCat("; did you mean ", nearest, "?");
}

absl::Status NotOneOf(absl::string_view word, const std::vector<std::string>& candidates) {
  return absl::InvalidArgumentError(absl::StrCat("\"", word, "\" is not one of ",
                                                 absl::StrJoin(candidates, ", "),
                                                 DidYouMean(word, candidates)));
}

}  // namespace graft
