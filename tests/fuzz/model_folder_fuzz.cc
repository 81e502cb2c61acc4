// A model folder: config.json, then the index of the weights (or nothing), then the one file of
// weights.

#include "common/formats/model_folder.h"

#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const auto& folder = *new graft::InputFolder;
  const auto parts = graft::PartsOf(graft::TextOf(data, size), 3);
  const absl::StatusOr<graft::Gpt2Config> config = graft::ParseGpt2Config(std::string(parts[0]));
  if (config.ok()) {
    FUZZ_CHECK(config->n_head > 0 && config->n_embd % config->n_head == 0);
    FUZZ_CHECK(graft::ParseGpt2Config(graft::Gpt2ConfigJson(*config)).ok());
  }
  folder.Clear();
  folder.Write("config.json", parts[0]);
  folder.Write("model.safetensors", parts[2]);
  if (!parts[1].empty()) {
    folder.Write("model.safetensors.index.json", parts[1]);
    std::filesystem::rename(folder.path() + "/model.safetensors",
                            folder.path() + "/model-1.safetensors");
  }
  const absl::StatusOr<graft::ModelFolder> model = graft::ModelFolder::Open(folder.path());
  if (!model.ok()) return 0;
  FUZZ_CHECK(config.ok());
  size_t bytes = 0;
  for (const graft::TensorView& view : model->tensors()) {
    for (const std::byte byte : view.bytes) bytes += static_cast<size_t>(byte == std::byte{0});
  }
  (void)bytes;
  FUZZ_CHECK(!model->weight_files().empty());
  return 0;
}
