#pragma once

// GPT-2's byte-level BPE tokeniser: text to ids and back, equal to the `tokenizers` library (whose
// BPE model, ByteLevel pre-tokeniser and added tokens this follows). It is not a general tokeniser:
// files that ask for another normaliser, pre-tokeniser, model or option are refused by name.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace graft {

// Thread-safe: every method is const and may run at the same time as any other. Words already seen
// are kept in bounded caches of 2 MiB for each thread that encodes at the same time.
class BpeTokenizer {
 public:
  struct EncodeOptions {
    // "<|endoftext|>" written in the text becomes its one id, as `tokenizers` does by default.
    // False: special tokens are encoded like any other text (encode_special_tokens of
    // `tokenizers`); added tokens that are not special still count.
    bool parse_special_tokens = true;
  };

  // Reads a Hugging Face folder: tokenizer.json if there is one, else vocab.json and merges.txt
  // (with the added tokens of added_tokens.json and tokenizer_config.json, where present).
  // NOT_FOUND: neither is there. RESOURCE_EXHAUSTED: a file of more than 64 MiB.
  // INVALID_ARGUMENT: a file is broken (which, and where), or asks for what is not GPT-2's
  // tokeniser (the setting is named), or there is no end-of-text token ("<|endoftext|>", else
  // eos_token of tokenizer_config.json or special_tokens_map.json).
  static absl::StatusOr<BpeTokenizer> Load(const std::string& folder);

  BpeTokenizer(BpeTokenizer&&) noexcept;
  BpeTokenizer& operator=(BpeTokenizer&&) noexcept;
  ~BpeTokenizer();

  // Ids of `text`, which must be UTF-8. No token is put in front or behind.
  // INVALID_ARGUMENT: not UTF-8, with the offset of the first wrong byte; or the vocabulary has no
  // token for a byte of the text, with its offset (`tokenizers` would leave that byte out in
  // silence).
  absl::StatusOr<std::vector<int32_t>> Encode(absl::string_view text, EncodeOptions options) const;
  absl::StatusOr<std::vector<int32_t>> Encode(absl::string_view text) const {
    return Encode(text, EncodeOptions());
  }
  // The same, appended to `ids`, which is unchanged on an error.
  absl::Status EncodeTo(absl::string_view text, EncodeOptions options,
                        std::vector<int32_t>* ids) const;

  // The bytes that `ids` stand for, one after the other: the exact inverse of Encode. Sequences
  // that a model made up may be no valid UTF-8; ToValidUtf8 of unicode.h makes of them what
  // `tokenizers` decodes. Ids without a token (a model can have more rows than the tokeniser has
  // tokens) stand for no bytes.
  std::string Decode(absl::Span<const int32_t> ids) const;
  // The same without the special tokens (skip_special_tokens of `tokenizers`).
  std::string DecodeWithoutSpecial(absl::Span<const int32_t> ids) const;

  // Bytes of one token; empty if there is no such id. Valid as long as the tokeniser.
  absl::string_view TokenBytes(int32_t id) const;
  bool IsSpecial(int32_t id) const;

  // The largest id + 1: the least number of rows that a model's wte needs.
  int32_t vocab_size() const;
  int32_t end_of_text_id() const;

 private:
  class Impl;
  explicit BpeTokenizer(std::unique_ptr<const Impl> impl);

  std::unique_ptr<const Impl> impl_;
};

// Decodes ids as they come and gives out text only in whole characters. All pieces joined are equal
// to ToValidUtf8(tokenizer.Decode(ids)). One thread at a time; the tokeniser must outlive it.
class StreamDecoder {
 public:
  explicit StreamDecoder(const BpeTokenizer& tokenizer) : tokenizer_(tokenizer) {}

  // What the next id completes; empty while a character is incomplete.
  std::string Push(int32_t id);
  // The end of the text: an incomplete character left over becomes U+FFFD. The decoder is as new
  // afterwards.
  std::string Finish();

 private:
  const BpeTokenizer& tokenizer_;
  std::string pending_;  // the beginning of a character, at most three bytes
};

}  // namespace graft
