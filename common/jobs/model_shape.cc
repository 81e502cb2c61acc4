#include "common/jobs/model_shape.h"

#include <cstdint>

namespace graft {

void SetShape(const Gpt2Config& config, v1::Model* model) {
  model->set_vocab_size(static_cast<int32_t>(config.vocab_size));
  model->set_n_positions(static_cast<int32_t>(config.n_positions));
  model->set_n_embd(static_cast<int32_t>(config.n_embd));
  model->set_n_layer(static_cast<int32_t>(config.n_layer));
  model->set_n_head(static_cast<int32_t>(config.n_head));
  model->set_tied_head(config.tie_word_embeddings);
}

}  // namespace graft
