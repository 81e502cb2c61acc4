#pragma once

#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "common/formats/model_folder.h"

namespace graft {

// A tiny GPT-2 whose every value is different, in memory: tests change its tensors and write it as
// they like.
class TestModel {
 public:
  explicit TestModel(bool tied = true) {
    config.vocab_size = 11;
    config.n_positions = 8;
    config.n_embd = 4;
    config.n_layer = 2;
    config.n_head = 2;
    config.n_inner = 16;
    config.tie_word_embeddings = tied;
    float next = 0;
    for (const TensorShape& shape : Gpt2TensorShapes(config, !tied)) {
      int64_t count = 1;
      for (const int64_t dimension : shape.shape) count *= dimension;
      std::vector<float> values(static_cast<size_t>(count));
      for (float& value : values) value = next++;
      Set(shape.name, shape.shape, std::move(values));
    }
  }

  void Set(const std::string& name, std::vector<int64_t> shape, std::vector<float> values) {
    data[name] = std::move(values);
    shapes[name] = std::move(shape);
  }
  void Erase(const std::string& name) {
    data.erase(name);
    shapes.erase(name);
  }

  // Views named with `prefix` in front of all but lm_head.weight.
  std::vector<TensorView> Views(const std::string& prefix = "") const {
    std::vector<TensorView> views;
    for (const auto& [name, values] : data) {
      views.push_back(
          {{name == "lm_head.weight" ? name : prefix + name, DType::kF32, shapes.at(name)},
           std::as_bytes(std::span(values))});
    }
    return views;
  }
  std::vector<TensorInfo> Infos() const {
    const std::vector<TensorView> views = Views();
    return {views.begin(), views.end()};
  }

  Gpt2Config config;
  std::map<std::string, std::vector<float>> data;
  std::map<std::string, std::vector<int64_t>> shapes;
};

}  // namespace graft
