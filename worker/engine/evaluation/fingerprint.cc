#include "worker/engine/evaluation/fingerprint.h"

#include "absl/strings/str_cat.h"

namespace graft {

std::string DecodingName(const GenerationConfig& config) {
  if (!config.do_sample) return "greedy";
  return absl::StrCat("sample temperature=", config.temperature, " top_k=", config.top_k,
                      " top_p=", config.top_p, " seed=", config.seed);
}

void SetScoringSettings(const DataConfig& data, const EvaluationConfig& evaluation,
                        EvaluationEvent* event) {
  event->use_stemmer = evaluation.use_stemmer;
  event->sentence_splitter = "newline";
  event->decoding = DecodingName(evaluation.generation);
  event->max_new_tokens = evaluation.max_new_tokens;
  event->max_source_tokens = data.max_source_tokens;
}

}  // namespace graft
