#include "worker/engine/evaluation/fingerprint.h"

#include "absl/strings/str_cat.h"

namespace graft {
namespace {

const char* Name(BeamEarlyStopping stopping) {
  switch (stopping) {
    case BeamEarlyStopping::kTrue:
      return "true";
    case BeamEarlyStopping::kNever:
      return "never";
    default:
      return "false";
  }
}

}  // namespace

std::string DecodingName(const GenerationConfig& config) {
  std::string name = "greedy";
  if (config.do_sample) {
    name = absl::StrCat("sample temperature=", config.temperature, " top_k=", config.top_k,
                        " top_p=", config.top_p, " seed=", config.seed);
  } else if (config.num_beams > 1) {
    name =
        absl::StrCat("beam num_beams=", config.num_beams, " length_penalty=", config.length_penalty,
                     " early_stopping=", Name(config.early_stopping));
  }
  if (config.repetition_penalty != 1) {
    absl::StrAppend(&name, " repetition_penalty=", config.repetition_penalty);
  }
  if (config.no_repeat_ngram_size > 0) {
    absl::StrAppend(&name, " no_repeat_ngram_size=", config.no_repeat_ngram_size);
  }
  return name;
}

void SetScoringSettings(const DataConfig& data, const EvaluationConfig& evaluation,
                        const std::string& precision, EvaluationEvent* event) {
  event->use_stemmer = evaluation.use_stemmer;
  event->sentence_splitter = "newline";
  event->decoding = DecodingName(evaluation.generation);
  event->precision = precision;
  event->max_new_tokens = evaluation.max_new_tokens;
  event->max_source_tokens = data.max_source_tokens;
}

}  // namespace graft
