#include "worker/engine/gpt2/dropout.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>

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

at::Tensor Mask(const at::Tensor& x, double rate, uint64_t key) {
  at::Tensor mask = at::empty(x.sizes(), x.options().requires_grad(false));
  return mask.bernoulli_(1 - rate, SeededGenerator(x.device(), key)).div_(1 - rate);
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

double Dropout::attention_rate(int64_t layer) const {
  return plan_ && layer >= plan_->first_block ? plan_->attention : 0;
}

at::Tensor Dropout::Embedding(const at::Tensor& x) const {
  if (!plan_ || plan_->embedding == 0) return x;
  return x * Mask(x, plan_->embedding, Key(DropoutPlace::kEmbedding, 0, 0));
}

at::Tensor Dropout::Residual(const at::Tensor& x, int64_t layer, DropoutPlace place) const {
  if (!plan_ || plan_->residual == 0 || layer < plan_->first_block) return x;
  return x * Mask(x, plan_->residual, Key(place, layer, 0));
}

at::Tensor Dropout::AdapterMask(const at::Tensor& x, double rate, int64_t layer, int site) const {
  if (!plan_ || rate == 0) return {};
  return Mask(x, rate, Key(DropoutPlace::kLora, layer, site));
}

void Dropout::SeedAttention(at::Device device, int64_t layer) const {
  at::Generator generator = at::globalContext().defaultGenerator(device);
  std::lock_guard<std::mutex> lock(generator.mutex());
  generator.set_current_seed(Key(DropoutPlace::kAttention, layer, 0));
}

}  // namespace graft
