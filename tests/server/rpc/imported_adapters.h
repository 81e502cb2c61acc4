#pragma once

// Adapters of PEFT's form, and how a client imports them.

#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "common/methods/adapter_files.h"
#include "common/methods/last_layers.h"
#include "common/methods/lora.h"
#include "common/methods/soft_prompt.h"
#include "gtest/gtest.h"
#include "tests/fakes/temp_dir.h"
#include "tests/server/rpc/test_server.h"

namespace graft {

// Writes a PEFT directory of a LoRA of rank 2 on c_attn, for a model of width `width`, with the
// modules that the names mean saved whole.
inline std::string WriteLora(const TempDir& directory, int64_t width,
                             const std::vector<std::string>& saved = {}) {
  MethodConfig parts;
  parts.Set(LoraConfig{.rank = 2});
  Gpt2Config gpt2 = TinyConfig();
  gpt2.n_embd = width;
  gpt2.n_inner = 4 * width;
  const std::vector<std::string> whole = *ResolveSavedModules(saved, gpt2);
  if (!whole.empty()) parts.Set(LastLayersOf(whole, gpt2));
  std::vector<TensorInfo> tensors;
  for (TensorShape& tensor : SavedModuleTensors(whole, gpt2)) {
    tensors.push_back({std::move(tensor.name), DType::kF32, std::move(tensor.shape)});
  }
  for (int layer = 0; layer < 2; ++layer) {
    const std::string module = absl::StrCat("h.", layer, ".attn.c_attn");
    tensors.push_back({module + ".lora_A", DType::kF32, {2, width}});
    tensors.push_back({module + ".lora_B", DType::kF32, {3 * width, 2}});
  }
  std::vector<std::byte> buffer(1 << 16, std::byte{0x3f});  // floats of 0.75
  const auto source = [&](const TensorInfo& tensor) -> absl::StatusOr<std::span<const std::byte>> {
    ASSIGN_OR_RETURN(const int64_t bytes, TensorSizeBytes(tensor.dtype, tensor.shape));
    return std::span<const std::byte>(buffer.data(), bytes);
  };
  const std::string folder =
      directory.Path(absl::StrCat("lora", width, "-", absl::StrJoin(saved, "-")));
  const auto written = WriteAdapter(folder, gpt2, parts, tensors, source, {.base_model_name = "x"});
  EXPECT_TRUE(written.ok()) << written.status();
  return folder;
}

// And of a soft prompt.
inline std::string WritePrompt(const TempDir& directory, int64_t tokens = 2) {
  MethodConfig parts;
  parts.Set(SoftPromptConfig{.num_virtual_tokens = tokens});
  const std::vector<std::byte> zeros(tokens * 8 * sizeof(float));
  const std::string folder = directory.Path(absl::StrCat("prompt", tokens));
  const auto written = WriteAdapter(
      folder, TinyConfig(), parts, {{kSoftPromptTensor, DType::kF32, {tokens, 8}}},
      [&](const TensorInfo&) -> absl::StatusOr<std::span<const std::byte>> { return zeros; }, {});
  EXPECT_TRUE(written.ok()) << written.status();
  return folder;
}

inline absl::StatusOr<v1::Adapter> ImportAdapter(TestServer& server, const std::string& name,
                                                 const std::string& base_model,
                                                 const std::string& folder) {
  const auto context = CallContext();
  v1::Adapter adapter;
  const auto writer = server.adapters().ImportAdapter(context.get(), &adapter);
  v1::ImportAdapterRequest message;
  message.mutable_metadata()->set_name(name);
  message.mutable_metadata()->set_base_model(base_model);
  writer->Write(message);
  const std::vector<std::string> paths = *ListDirectory(folder);
  for (const std::string& path : paths) {
    v1::FileChunk* chunk = message.mutable_chunk();
    chunk->set_path(path);
    chunk->set_data(*ReadFile(JoinPath(folder, path), 1 << 20));
    chunk->set_size_bytes(static_cast<int64_t>(chunk->data().size()));
    if (!writer->Write(message)) break;
  }
  writer->WritesDone();
  const absl::Status status = FromGrpcStatus(writer->Finish());
  if (!status.ok()) return status;
  return adapter;
}

}  // namespace graft
