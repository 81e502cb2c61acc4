#include "worker/engine/data/tokenise.h"

#include <memory>
#include <new>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/text/data_reader.h"
#include "worker/engine/data/ordered_pipeline.h"
#include "worker/engine/failure.h"

namespace graft {
namespace {

constexpr size_t kRowsPerBatch = 64;
constexpr size_t kBytesPerBatch = 256 << 10;

// What one thread encodes at a time.
struct Batch {
  std::vector<DataRow> rows;
  std::vector<TokenExample> examples;
  absl::Status status;
};

// Packs tokens into blocks of fixed length and writes them.
class BlockPacker {
 public:
  BlockPacker(size_t block, TokenFileWriter& writer) : block_(block), writer_(writer) {}

  absl::Status Add(const std::vector<int32_t>& ids, int64_t line) {
    for (const int32_t id : ids) {
      if (pending_.empty()) line_ = line;
      pending_.push_back(id);
      if (pending_.size() == block_) RETURN_IF_ERROR(Flush());
    }
    return absl::OkStatus();
  }
  // A last block of one token is dropped: only a soft prompt would make it a label, and what is
  // learned from must not depend on the method.
  absl::Status Finish() { return pending_.size() < 2 ? absl::OkStatus() : Flush(); }

 private:
  absl::Status Flush() {
    RETURN_IF_ERROR(writer_.Append(pending_, 0, line_));
    pending_.clear();
    return absl::OkStatus();
  }

  const size_t block_;
  TokenFileWriter& writer_;
  std::vector<int32_t> pending_;
  int64_t line_ = 0;
};

class Run {
 public:
  Run(const BpeTokenizer& tokenizer, const TokeniseOptions& options, TokenFileWriter& writer,
      StopToken& stop)
      : tokenizer_(tokenizer),
        options_(options),
        writer_(writer),
        stop_(stop),
        packer_(static_cast<size_t>(options.max_total_tokens), writer) {}

  absl::StatusOr<TokenCounts> Tokenise(const DataSetFile& file) {
    label_ = file.label();
    if (options_.config.text_field.empty()) {
      ASSIGN_OR_RETURN(
          ExampleBuilder builder,
          ExampleBuilder::Create(
              tokenizer_, {options_.config.prompt_template, options_.config.max_source_tokens,
                           options_.config.max_target_tokens, options_.max_total_tokens}));
      builder_ = std::make_unique<ExampleBuilder>(std::move(builder));
    }
    ASSIGN_OR_RETURN(RowStream rows, RowStream::Open(file, options_.config));
    RETURN_IF_ERROR(Stream(rows));
    RETURN_IF_ERROR(packer_.Finish());
    return counts_;
  }

 private:
  absl::Status Stream(RowStream& rows) {
    const size_t threads = static_cast<size_t>(options_.threads);
    OrderedPipeline<Batch> pipeline(options_.threads, [this](Batch& batch) {
      try {
        Encode(batch);
      } catch (const std::bad_alloc&) {  // On a thread of its own nobody else would catch it.
        batch.status = WithFailureClass(absl::ResourceExhaustedError("out of memory"),
                                        FailureClass::kOutOfMemory);
      }
    });
    absl::Status read;
    for (bool more = true; more && read.ok();) {
      RETURN_IF_ERROR(stop_.Poll());
      auto batch = std::make_unique<Batch>();
      absl::StatusOr<bool> filled = Fill(rows, *batch);
      read = filled.status();  // Reported after what stands before it in the file.
      more = filled.ok() && *filled;
      pipeline.Push(std::move(batch));
      while (pipeline.in_flight() >= 2 * threads) RETURN_IF_ERROR(Write(*pipeline.Pop()));
    }
    while (pipeline.in_flight() > 0) RETURN_IF_ERROR(Write(*pipeline.Pop()));
    return read;
  }

  // False when the file (or max_rows) has come to its end.
  absl::StatusOr<bool> Fill(RowStream& rows, Batch& batch) {
    size_t bytes = 0;
    while (batch.rows.size() < kRowsPerBatch && bytes < kBytesPerBatch) {
      if (options_.max_rows > 0 && rows.rows() == options_.max_rows) return false;
      DataRow row;
      ASSIGN_OR_RETURN(const bool have, rows.Next(&row));
      if (!have) return false;
      stop_.pulse().Beat();
      if (options_.keep_row && !options_.keep_row(rows.rows() - 1)) continue;
      bytes += row.source.size() + (row.targets.empty() ? 0 : row.targets[0].size());
      batch.rows.push_back(std::move(row));
    }
    return true;
  }

  void Encode(Batch& batch) const {
    batch.examples.resize(batch.rows.size());
    for (size_t i = 0; i < batch.rows.size() && batch.status.ok(); ++i) {
      stop_.pulse().Beat();
      const DataRow& row = batch.rows[i];
      const absl::Status status =
          builder_ ? builder_->Build(row.source, row.targets[0], &batch.examples[i])
                   : EncodeText(row.source, batch.examples[i]);
      if (!status.ok()) {
        batch.status = DataError(Annotate(status, absl::StrCat("line ", row.line)), label_);
      }
    }
  }

  absl::Status EncodeText(absl::string_view text, TokenExample& example) const {
    RETURN_IF_ERROR(tokenizer_.EncodeTo(text, BpeTokenizer::EncodeOptions(), &example.ids));
    example.ids.push_back(tokenizer_.end_of_text_id());
    return absl::OkStatus();
  }

  absl::Status Write(const Batch& batch) {
    RETURN_IF_ERROR(batch.status);
    for (size_t i = 0; i < batch.rows.size(); ++i) {
      const DataRow& row = batch.rows[i];
      const TokenExample& example = batch.examples[i];
      ++counts_.rows;
      counts_.sources_cut += example.source_tokens_cut > 0;
      counts_.targets_cut += example.target_tokens_cut > 0;
      counts_.empty_sources += row.source.empty();
      counts_.empty_targets += !row.targets.empty() && row.targets[0].empty();
      RETURN_IF_ERROR(builder_ ? writer_.Append(example.ids, example.num_prompt_tokens, row.line)
                               : packer_.Add(example.ids, row.line));
    }
    return absl::OkStatus();
  }

  const BpeTokenizer& tokenizer_;
  const TokeniseOptions& options_;
  TokenFileWriter& writer_;
  StopToken& stop_;
  BlockPacker packer_;
  std::string label_;
  std::unique_ptr<const ExampleBuilder> builder_;  // nullptr: plain text.
  TokenCounts counts_;
};

}  // namespace

absl::StatusOr<TokenCounts> Tokenise(const DataSetFile& file, const BpeTokenizer& tokenizer,
                                     const TokeniseOptions& options, TokenFileWriter& writer,
                                     StopToken& stop) {
  return Run(tokenizer, options, writer, stop).Tokenise(file);
}

absl::StatusOr<int64_t> CountRows(const DataSetFile& file, const DataConfig& config,
                                  int64_t max_rows, StopToken& stop) {
  ASSIGN_OR_RETURN(RowStream rows, RowStream::Open(file, config));
  DataRow row;
  for (;;) {
    if (rows.rows() % kRowsPerBatch == 0) RETURN_IF_ERROR(stop.Poll());
    if (max_rows > 0 && rows.rows() == max_rows) return max_rows;
    ASSIGN_OR_RETURN(const bool have, rows.Next(&row));
    if (!have) return rows.rows();
    stop.pulse().Beat();
  }
}

}  // namespace graft
