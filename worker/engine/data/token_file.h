#pragma once

// The cache of a tokenised data set: one memory-mapped file, so that rows are read at random
// without being held in memory.
//
//   ids      int32, all rows one after the other
//   index    a record a row: begin (u64, in ids), count (u32), prompt count (u32), line (u64)
//   footer   fixed size: counts, offsets, the SHA-256 of all that stands before it, a magic number
//
// Everything in the machine's byte order: the file is a cache of one machine and can be removed at
// any time while no engine runs.

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/base/file.h"
#include "common/base/mapped_file.h"
#include "common/base/sha256.h"
#include "worker/engine/data/example_source.h"

namespace graft {

// What tokenising a data set found; stored with it.
struct TokenCounts {
  int64_t rows = 0;         // Rows read; with plain text there are fewer, packed examples.
  int64_t sources_cut = 0;  // Rows whose source lost tokens.
  int64_t targets_cut = 0;  // Rows whose target lost tokens.
  int64_t empty_sources = 0;
  int64_t empty_targets = 0;
};

class TokenFile : public ExampleSource {
 public:
  // Reads the whole file once, to compare its bytes with their hash. DATA_LOSS: not such a file, an
  // earlier graft's, cut short or changed (build it again). Codes of common/base/file.h.
  static absl::StatusOr<std::shared_ptr<const TokenFile>> Open(const std::string& path);

  int64_t size() const override { return num_examples_; }
  Example Get(int64_t index) const override;
  int64_t Line(int64_t index) const override;
  const TokenCounts& counts() const { return counts_; }

 private:
  TokenFile() = default;

  MappedFile file_;
  const char* index_ = nullptr;
  int64_t num_examples_ = 0;
  TokenCounts counts_;
};

// Writes such a file from front to back, in bounded memory (the index waits in an unlinked file
// beside). One thread. Without Commit nothing is left.
class TokenFileWriter {
 public:
  // Codes of common/base/file.h.
  static absl::StatusOr<std::unique_ptr<TokenFileWriter>> Create(const std::string& path);

  absl::Status Append(std::span<const int32_t> ids, int64_t num_prompt_tokens, int64_t line);
  // Publishes the file whole.
  absl::Status Commit(const TokenCounts& counts);

 private:
  TokenFileWriter(AtomicFile file, UniqueFd index, std::string path)
      : file_(std::move(file)), index_(std::move(index)), path_(std::move(path)) {}
  absl::Status AppendHashed(absl::string_view bytes);
  absl::Status CopyIndex();

  AtomicFile file_;
  UniqueFd index_;
  std::string path_;
  Sha256 hash_;
  std::string ids_buffer_;
  std::string index_buffer_;
  int64_t num_ids_ = 0;
  int64_t num_examples_ = 0;
};

// Rows of another source, by their indices there.
class RowSubset : public ExampleSource {
 public:
  RowSubset(std::shared_ptr<const ExampleSource> source, std::vector<int64_t> rows)
      : source_(std::move(source)), rows_(std::move(rows)) {}
  int64_t size() const override { return static_cast<int64_t>(rows_.size()); }
  Example Get(int64_t index) const override {
    return source_->Get(rows_[static_cast<size_t>(index)]);
  }
  int64_t Line(int64_t index) const override {
    return source_->Line(rows_[static_cast<size_t>(index)]);
  }
  int64_t Row(int64_t index) const override {
    return source_->Row(rows_[static_cast<size_t>(index)]);
  }

 private:
  std::shared_ptr<const ExampleSource> source_;
  std::vector<int64_t> rows_;
};

}  // namespace graft
