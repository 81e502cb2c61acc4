#pragma once

#include "common/methods/method.h"

namespace graft {

struct FullConfig {
  static constexpr char kMethod[] = "full";
};

// Everything trains, and the result is a model, no adapter: it has no files here.
class Full : public Method {
 public:
  const char* name() const override { return FullConfig::kMethod; }
  double default_learning_rate() const override { return 5e-5; }
  const char* why_alone() const override { return "it trains all parameters"; }
  void Check(const v1::Method& method, const FieldScope& scope) const override;
  bool trains_base() const override { return true; }
  bool makes_model() const override { return true; }
  int64_t NumWholeBlocks(const MethodConfig&, int64_t n_layer) const override { return n_layer; }
  void ToConfig(const v1::Method&, MethodConfig& config) const override {
    config.Set(FullConfig());
  }
  std::vector<TensorShape> Tensors(const MethodConfig&, const Gpt2Config& gpt2) const override {
    return Gpt2TensorShapes(gpt2, !gpt2.tie_word_embeddings);
  }
};

}  // namespace graft
