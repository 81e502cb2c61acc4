#include "worker/engine/gpt2/network.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace graft {

const char* Conv1dSiteName(int site) {
  static constexpr const char* kNames[] = {"attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"};
  return kNames[site];
}

at::ScalarType StreamType(at::ScalarType dtype) {
  return dtype == at::kBFloat16 ? at::kFloat : dtype;
}

at::ScalarType TypeInNetwork(absl::string_view name, at::ScalarType dtype) {
  return absl::StrContains(name, "ln_") || name == "soft_prompt" ? StreamType(dtype) : dtype;
}

std::vector<NamedTensor> NamedTensors(Gpt2Network& network, bool with_lm_head) {
  std::vector<NamedTensor> result = {{"wte.weight", &network.wte}, {"wpe.weight", &network.wpe}};
  const auto add = [&](const std::string& module, at::Tensor& weight, at::Tensor& bias) {
    result.push_back({module + ".weight", &weight});
    result.push_back({module + ".bias", &bias});
  };
  const auto add_site = [&](const std::string& block, Projection& projection, int site) {
    add(absl::StrCat(block, ".", Conv1dSiteName(site)), projection.weight, projection.bias);
  };
  for (int64_t layer = 0; layer < network.num_layers(); ++layer) {
    BlockTensors& block = network.blocks[layer];
    const std::string name = absl::StrCat("h.", layer);
    add(name + ".ln_1", block.ln_1.weight, block.ln_1.bias);
    add_site(name, block.projections[kAttnCAttn], kAttnCAttn);
    add_site(name, block.projections[kAttnCProj], kAttnCProj);
    add(name + ".ln_2", block.ln_2.weight, block.ln_2.bias);
    add_site(name, block.projections[kMlpCFc], kMlpCFc);
    add_site(name, block.projections[kMlpCProj], kMlpCProj);
  }
  add("ln_f", network.ln_f.weight, network.ln_f.bias);
  if (with_lm_head) result.push_back({"lm_head.weight", &network.lm_head});
  return result;
}

}  // namespace graft
