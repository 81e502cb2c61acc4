#include <algorithm>
#include <vector>

#include "absl/strings/str_join.h"
#include "common/jobs/method.h"
#include "common/jobs/spec_checks.h"

namespace graft {
namespace {

constexpr double kLoraLearningRate = 2e-4;
constexpr double kSoftPromptLearningRate = 3e-2;
constexpr double kLastLayersLearningRate = 1e-4;
constexpr double kFullLearningRate = 5e-5;

template <typename Part>
void ResolveLearningRate(const v1::TrainingSpec& training, double fallback, Part& part) {
  if (part.has_learning_rate()) return;
  part.set_learning_rate(training.has_learning_rate() ? training.learning_rate() : fallback);
}

// What a method leaves open, filled from the adapter it begins with.
void InheritLora(const v1::Lora& from, v1::Lora& lora) {
  if (!lora.has_rank() && from.has_rank()) lora.set_rank(from.rank());
  if (!lora.has_alpha() && from.has_alpha()) lora.set_alpha(from.alpha());
  if (lora.target_modules().empty()) *lora.mutable_target_modules() = from.target_modules();
  if (lora.layers().empty()) *lora.mutable_layers() = from.layers();
  if (from.use_rslora()) lora.set_use_rslora(true);
}

void InheritLastLayers(const v1::LastLayers& from, v1::LastLayers& last) {
  if (!last.has_num_layers() && from.has_num_layers()) last.set_num_layers(from.num_layers());
  if (!last.has_include_final_norm() && from.has_include_final_norm()) {
    last.set_include_final_norm(from.include_final_norm());
  }
  if (!last.has_include_lm_head() && from.has_include_lm_head()) {
    last.set_include_lm_head(from.include_lm_head());
  }
}

void Inherit(const v1::Method& from, v1::Method& method) {
  if (method.has_lora()) InheritLora(from.lora(), *method.mutable_lora());
  if (method.has_last_layers())
    InheritLastLayers(from.last_layers(), *method.mutable_last_layers());
  if (method.has_soft_prompt() && !method.soft_prompt().has_num_virtual_tokens() &&
      from.soft_prompt().has_num_virtual_tokens()) {
    method.mutable_soft_prompt()->set_num_virtual_tokens(from.soft_prompt().num_virtual_tokens());
  }
}

// The tensors of the adapter must be those of the method.
void CheckSameShape(const v1::Adapter& adapter, const v1::Method& method, const FieldScope& scope) {
  const v1::Method& from = adapter.method();
  if (MethodName(from) != MethodName(method)) {
    return scope.AddHere(absl::StrCat("is ", MethodName(method), ", but init_from names ",
                                      adapter.name(), ", which is ", MethodName(from)));
  }
  const auto same = [&](bool equal, absl::string_view field, auto value) {
    scope.Require(equal, field,
                  absl::StrCat("must be that of ", adapter.name(), " (init_from), ", value));
  };
  if (from.lora().has_rank()) {
    same(from.lora().rank() == method.lora().rank(), "lora.rank", from.lora().rank());
  }
  if (from.soft_prompt().has_num_virtual_tokens()) {
    same(from.soft_prompt().num_virtual_tokens() == method.soft_prompt().num_virtual_tokens(),
         "soft_prompt.num_virtual_tokens", from.soft_prompt().num_virtual_tokens());
  }
  if (from.last_layers().has_num_layers()) {
    same(from.last_layers().num_layers() == method.last_layers().num_layers(),
         "last_layers.num_layers", from.last_layers().num_layers());
  }
}

// Sorts what is given, else takes the blocks that last_layers leaves; `whole` is how many it
// trains.
void ResolveLoraLayers(int n_layer, int whole, v1::Lora& lora, const FieldScope& scope) {
  const int first_whole = n_layer - whole;
  if (lora.layers().empty()) {
    for (int layer = 0; layer < first_whole; ++layer) lora.add_layers(layer);
    scope.Require(
        !lora.layers().empty(), "layers",
        absl::StrCat("last_layers trains all ", n_layer, " blocks whole: none is left for LoRA"));
    return;
  }
  for (int i = 0; i < lora.layers_size(); ++i) {
    const int layer = lora.layers(i);
    const std::string field = absl::StrCat("layers[", i, "]");
    if (layer >= n_layer) {
      scope.Add(field, absl::StrCat(layer, " is not in the model, which has the blocks 0 to ",
                                    n_layer - 1));
    } else if (layer >= first_whole) {
      scope.Add(field, absl::StrCat("last_layers trains block ", layer, " whole"));
    }
  }
  std::sort(lora.mutable_layers()->begin(), lora.mutable_layers()->end());
}

void ResolveLora(const v1::Model& model, int whole, v1::Lora& lora, const FieldScope& scope) {
  if (!lora.has_rank()) lora.set_rank(std::min(8, model.n_embd()));
  if (!lora.has_alpha()) lora.set_alpha(16);
  if (!lora.has_dropout()) lora.set_dropout(0);
  if (lora.target_modules().empty()) lora.add_target_modules("c_attn");
  // Each of the four layers has n_embd as its smaller side.
  scope.Require(lora.rank() <= model.n_embd(), "rank",
                absl::StrCat("is ", lora.rank(), ", beyond the layer: ", model.name(), " is ",
                             model.n_embd(), " wide; must be 1 to ", model.n_embd()));
  ResolveLoraLayers(model.n_layer(), whole, lora, scope);
}

void ResolveSoftPrompt(const v1::Model& model, v1::SoftPrompt& prompt, const FieldScope& scope) {
  const int most = model.n_positions() - 2;
  if (!prompt.has_num_virtual_tokens()) {
    prompt.set_num_virtual_tokens(std::max(1, std::min(20, most)));
  }
  if (prompt.init() == v1::SoftPrompt::INIT_UNSPECIFIED) {
    prompt.set_init(v1::SoftPrompt::INIT_VOCABULARY);
  }
  if (prompt.num_virtual_tokens() <= most) return;
  scope.Add("num_virtual_tokens",
            absl::StrCat("is ", prompt.num_virtual_tokens(), "; ", model.name(), " has ",
                         model.n_positions(), " positions, of which a text needs 2",
                         most < 1 ? ": there is no room for a soft prompt"
                                  : absl::StrCat("; must be 1 to ", most)));
}

void ResolveLastLayers(const v1::Model& model, v1::LastLayers& last, const FieldScope& scope) {
  if (!last.has_num_layers()) last.set_num_layers(std::min(2, model.n_layer()));
  if (!last.has_include_final_norm()) last.set_include_final_norm(true);
  if (!last.has_include_lm_head()) last.set_include_lm_head(false);
  scope.Between("num_layers", last.num_layers(), 0, model.n_layer());
}

}  // namespace

void ResolveMethod(const v1::TrainingSpec& training, const v1::Model& model,
                   const v1::Adapter* adapter, v1::Method& method, const FieldScope& scope) {
  if (adapter != nullptr) Inherit(adapter->method(), method);
  int whole = 0;
  if (method.has_last_layers()) {
    v1::LastLayers& last = *method.mutable_last_layers();
    ResolveLastLayers(model, last, scope.At("last_layers"));
    ResolveLearningRate(training, kLastLayersLearningRate, last);
    whole = std::min(last.num_layers(), model.n_layer());
  }
  if (method.has_lora()) {
    ResolveLora(model, whole, *method.mutable_lora(), scope.At("lora"));
    ResolveLearningRate(training, kLoraLearningRate, *method.mutable_lora());
  }
  if (method.has_soft_prompt()) {
    ResolveSoftPrompt(model, *method.mutable_soft_prompt(), scope.At("soft_prompt"));
    ResolveLearningRate(training, kSoftPromptLearningRate, *method.mutable_soft_prompt());
  }
  if (method.has_full()) {
    ResolveLearningRate(training, kFullLearningRate, *method.mutable_full());
  }
  if (adapter != nullptr) CheckSameShape(*adapter, method, scope);
}

int NumVirtualTokens(const v1::Method& resolved) {
  return resolved.has_soft_prompt() ? resolved.soft_prompt().num_virtual_tokens() : 0;
}

}  // namespace graft
