// tokenizer.json, then a text that it encodes.

#include "common/text/bpe.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const auto& folder = *new graft::InputFolder;
  const auto parts = graft::PartsOf(graft::TextOf(data, size), 2);
  folder.Write("tokenizer.json", parts[0]);
  const absl::StatusOr<graft::BpeTokenizer> tokenizer = graft::BpeTokenizer::Load(folder.path());
  if (!tokenizer.ok()) return 0;
  const absl::StatusOr<std::vector<int32_t>> ids = tokenizer->Encode(std::string(parts[1]));
  if (!ids.ok()) return 0;
  for (const int32_t id : *ids) FUZZ_CHECK(id >= 0 && id < tokenizer->vocab_size());
  (void)tokenizer->DecodeWithoutSpecial(*ids);
  return 0;
}
