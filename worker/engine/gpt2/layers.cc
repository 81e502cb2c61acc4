#include "worker/engine/gpt2/layers.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <torch/csrc/autograd/custom_function.h>

#include <mutex>

namespace graft {
namespace {

// SplitMix64's output function (Steele et al. 2014): spreads a counter over all 64 bits.
uint64_t Mix(uint64_t x) {
  x += 0x9e3779b97f4a7c15;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

at::Generator SeededGenerator(at::Device device, uint64_t key) {
  at::Generator generator = device.is_cpu() ? at::detail::createCPUGenerator()
                                            : at::globalContext().defaultGenerator(device).clone();
  generator.set_current_seed(key);
  return generator;
}

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// at::addmm with a weight that is laid out for its processor, and needs no gradient.
class FrozenConv1d : public torch::autograd::Function<FrozenConv1d> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x,
                            const Conv1dTensors& conv) {
    context->save_for_backward({conv.weight});
    return conv.packed.Linear(x, conv.bias);
  }
  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    return {at::mm(grads[0], context->get_saved_variables()[0].t()), at::Tensor()};
  }
};

// The stream with what a block adds to it, whose memory is used where it is of the same type.
at::Tensor AddTo(const at::Tensor& stream, at::Tensor added) {
  return added.scalar_type() == stream.scalar_type() ? added.add_(stream) : stream + added;
}

}  // namespace

uint64_t Dropout::Key(DropoutPlace place, int64_t layer, int site) const {
  uint64_t key = Mix(plan_->seed);
  for (uint64_t part :
       {static_cast<uint64_t>(plan_->step), static_cast<uint64_t>(plan_->micro_batch),
        static_cast<uint64_t>(place), static_cast<uint64_t>(layer), static_cast<uint64_t>(site)}) {
    key = Mix(key ^ part);
  }
  return key;
}

at::Tensor Dropout::Apply(const at::Tensor& x, double rate, uint64_t key) const {
  at::Tensor mask = at::empty(x.sizes(), x.options());
  mask.bernoulli_(1 - rate, SeededGenerator(x.device(), key)).div_(1 - rate);
  return x * mask;
}

double Dropout::attention_rate(int64_t layer) const {
  return plan_ != nullptr && layer >= plan_->first_block ? plan_->attention : 0;
}

at::Tensor Dropout::Embedding(const at::Tensor& x) const {
  if (plan_ == nullptr || plan_->embedding == 0) return x;
  return Apply(x, plan_->embedding, Key(DropoutPlace::kEmbedding, 0, 0));
}

at::Tensor Dropout::Residual(const at::Tensor& x, int64_t layer, DropoutPlace place) const {
  if (plan_ == nullptr || plan_->residual == 0 || layer < plan_->first_block) return x;
  return Apply(x, plan_->residual, Key(place, layer, 0));
}

at::Tensor Dropout::Lora(const at::Tensor& x, double rate, int64_t layer, int site) const {
  if (plan_ == nullptr || rate == 0) return x;
  return Apply(x, rate, Key(DropoutPlace::kLora, layer, site));
}

void Dropout::SeedAttention(at::Device device, int64_t layer) const {
  at::Generator generator = at::globalContext().defaultGenerator(device);
  std::lock_guard<std::mutex> lock(generator.mutex());
  generator.set_current_seed(Key(DropoutPlace::kAttention, layer, 0));
}

at::Tensor ApplyLayerNorm(const Gpt2Network& network, const at::Tensor& x,
                          const LayerNormTensors& norm) {
  return at::layer_norm(x, {x.size(-1)}, norm.weight, norm.bias, network.layer_norm_epsilon)
      .to(network.dtype());
}

at::Tensor ApplyConv1d(const at::Tensor& x, const BlockTensors& block, int site, int64_t layer,
                       const Dropout& dropout) {
  const Conv1dTensors& conv = block.conv[site];
  at::Tensor y =
      conv.packed.defined() ? FrozenConv1d::apply(x, conv) : at::addmm(conv.bias, x, conv.weight);
  if (const std::optional<LoraTensors>& lora = block.lora[site]; lora.has_value()) {
    at::Tensor down = at::mm(dropout.Lora(x, lora->dropout, layer, site), lora->a.t());
    // In place: the backward pass of addmm does not need its result, and y is wide.
    y.addmm_(down, lora->b.t(), /*beta=*/1, /*alpha=*/lora->scale);
  }
  return y;
}

AttentionInputs ProjectAttention(const Gpt2Network& network, const at::Tensor& x, int64_t batch,
                                 int64_t layer, const Dropout& dropout) {
  const BlockTensors& block = network.blocks[layer];
  at::Tensor normed = ApplyLayerNorm(network, x, block.ln_1);
  at::Tensor qkv = ApplyConv1d(normed, block, kAttnCAttn, layer, dropout);
  const int64_t heads = network.num_heads;
  const int64_t length = x.size(0) / batch;
  std::vector<at::Tensor> parts =
      qkv.view({batch, length, 3, heads, network.width() / heads}).unbind(2);
  return {parts[0].transpose(1, 2), parts[1].transpose(1, 2), parts[2].transpose(1, 2)};
}

at::Tensor FinishBlock(const Gpt2Network& network, const at::Tensor& x, const at::Tensor& attention,
                       int64_t layer, const Dropout& dropout) {
  const BlockTensors& block = network.blocks[layer];
  at::Tensor projected = ApplyConv1d(attention, block, kAttnCProj, layer, dropout);
  at::Tensor middle = AddTo(x, dropout.Residual(projected, layer, DropoutPlace::kAttentionOut));
  at::Tensor normed = ApplyLayerNorm(network, middle, block.ln_2);
  at::Tensor wide = at::gelu(ApplyConv1d(normed, block, kMlpCFc, layer, dropout), "tanh");
  at::Tensor out = ApplyConv1d(wide, block, kMlpCProj, layer, dropout);
  return AddTo(middle, dropout.Residual(out, layer, DropoutPlace::kMlpOut));
}

at::Tensor Embed(const Gpt2Network& network, const at::Tensor& ids, const Dropout& dropout) {
  const int64_t batch = ids.size(0);
  const int64_t prompt = network.num_virtual_tokens();
  const int64_t length = prompt + ids.size(1);
  at::Tensor x = at::embedding(network.wte, ids).to(network.stream_dtype());
  if (prompt > 0) {
    x = at::cat({network.soft_prompt.unsqueeze(0).expand({batch, -1, -1}), x}, 1);
  }
  x = x + network.wpe.narrow(0, 0, length).to(network.stream_dtype());
  return dropout.Embedding(x).view({batch * length, network.width()});
}

}  // namespace graft
