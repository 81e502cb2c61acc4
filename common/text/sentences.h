#pragma once

// Sentences, and the summaries that are made of a document's own: what a trained model must beat.
// Pure, thread-safe.

#include <cstddef>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "common/text/rouge.h"

namespace graft {

// The sentences of a text, in order, without white space around them; empty ones are left out. They
// end at newlines if the text has any but at its ends, else by a simple rule for English: behind
// ".", "!" or "?" and closing quotes or brackets, where white space and then anything but a small
// letter follows; not behind known abbreviations ("Mr.") and initials
// ("J.", "U.S."). Parts of `text`.
std::vector<absl::string_view> SplitSentences(absl::string_view text);

// The first `count` sentences, joined by newlines: "lead-3".
std::string LeadSentences(absl::string_view text, size_t count);

// The extractive oracle: sentence after sentence, the one that raises ROUGE-1 F + ROUGE-2 F the
// most (of equal ones the first), until none raises it or there are `count`; in the order of the
// document, joined by newlines. Of several targets the one with the greatest sum counts, each time.
// (R. Nallapati et al., "SummaRuNNer", 2017, section 3.)
std::string ExtractiveOracle(absl::string_view document, absl::Span<const std::string> targets,
                             size_t count, const RougeOptions& options);

}  // namespace graft
