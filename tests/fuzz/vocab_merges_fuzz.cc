// vocab.json, merges.txt, tokenizer_config.json, added_tokens.json, then a text that they encode.

#include "common/text/bpe.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const auto& folder = *new graft::InputFolder;
  const auto parts = graft::PartsOf(graft::TextOf(data, size), 5);
  folder.Clear();
  folder.Write("vocab.json", parts[0]);
  folder.Write("merges.txt", parts[1]);
  if (!parts[2].empty()) folder.Write("tokenizer_config.json", parts[2]);
  if (!parts[3].empty()) folder.Write("added_tokens.json", parts[3]);
  const absl::StatusOr<graft::BpeTokenizer> tokenizer = graft::BpeTokenizer::Load(folder.path());
  if (!tokenizer.ok()) return 0;
  const absl::StatusOr<std::vector<int32_t>> ids = tokenizer->Encode(std::string(parts[4]));
  if (!ids.ok()) return 0;
  for (const int32_t id : *ids) FUZZ_CHECK(id >= 0 && id < tokenizer->vocab_size());
  graft::StreamDecoder decoder(*tokenizer);
  for (const int32_t id : *ids) (void)decoder.Push(id);
  (void)decoder.Finish();
  return 0;
}
