#include "worker/engine/data/data_set.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/sha256.h"
#include "common/base/status_macros.h"
#include "common/jobs/row_split.h"
#include "common/jobs/share.h"
#include "worker/engine/data/tokenise.h"
#include "worker/engine/failure.h"

namespace graft {
namespace {

// Changes whenever the ids of the same data and settings would be others.
constexpr absl::string_view kFormat = "graft token file 1";

// Which rows of a plain-text data set a file holds, when some are held out.
struct TextPart {
  std::string name;  // Of the split, for the cache's key; empty: all rows.
  std::function<bool(int64_t)> keep_row;
};

// What the rows follow from: the bytes, and whether they are plain text, as any bytes may be.
absl::StatusOr<std::string> DataIdentity(const DataSetFile& file) {
  std::string identity = file.sha256;
  if (identity.empty()) {
    ASSIGN_OR_RETURN(identity, Sha256HexOfFile(file.path));
  }
  if (FormatOfName(file.path) == DataFormat::kText) absl::StrAppend(&identity, " text");
  return identity;
}

// Strings are written with their lengths, so that no two settings give the same text.
std::string CacheKey(absl::string_view data, const DataConfig& config, int64_t max_rows,
                     const DataContext& context, absl::string_view part) {
  std::string key;
  const auto add = [&key](absl::string_view value) {
    absl::StrAppend(&key, value.size(), ":", value, "\n");
  };
  add(kFormat);
  add(data);
  add(context.tokenizer_sha256);
  add(absl::StrCat(context.max_total_tokens));
  add(absl::StrCat(max_rows));
  add(part);
  if (config.text_field.empty()) {
    add("pairs");
    add(config.source_field);
    add(config.target_field);
    add(config.prompt_template);
    add(absl::StrCat(config.max_source_tokens));
    add(absl::StrCat(config.max_target_tokens));
  } else {
    add("text");
    add(config.text_field);
  }
  return Sha256Hex(key);
}

absl::StatusOr<std::shared_ptr<const TokenFile>> OpenPart(const DataSetFile& file,
                                                          const DataConfig& config,
                                                          int64_t max_rows,
                                                          const DataContext& context,
                                                          const TextPart& part, StopToken& stop) {
  ASSIGN_OR_RETURN(const std::string data, DataIdentity(file));
  RETURN_IF_ERROR(CreateDirectories(context.cache_directory));
  const std::string path =
      JoinPath(context.cache_directory,
               absl::StrCat(CacheKey(data, config, max_rows, context, part.name), ".ids"));
  if (FileExists(path)) {
    absl::StatusOr<std::shared_ptr<const TokenFile>> cached = TokenFile::Open(path);
    MarkUsed(path);
    if (cached.ok() || !absl::IsDataLoss(cached.status())) return cached;
  }
  ASSIGN_OR_RETURN(const std::unique_ptr<TokenFileWriter> writer, TokenFileWriter::Create(path));
  const TokeniseOptions options = {config, context.max_total_tokens, max_rows, context.threads,
                                   part.keep_row};
  ASSIGN_OR_RETURN(const TokenCounts counts,
                   Tokenise(file, *context.tokenizer, options, *writer, stop));
  RETURN_IF_ERROR(writer->Commit(counts));
  return TokenFile::Open(path);
}

// Plain text may be too short for a block. `where` names what to change.
absl::Status CheckHasBlocks(const TokenFile& tokens, const std::string& where,
                            FailureClass failure_class) {
  if (tokens.size() > 0) return absl::OkStatus();
  return WithFailureClass(
      absl::InvalidArgumentError(absl::StrCat(where, ": ", tokens.counts().rows,
                                              " rows, in which there is no text to learn from "
                                              "or to score: two tokens are needed")),
      failure_class);
}

absl::Status CheckSplit(const std::string& label, int64_t rows, int64_t held_out) {
  if (held_out > 0 && held_out < rows) return absl::OkStatus();
  return WithFailureClass(
      absl::InvalidArgumentError(absl::StrCat(
          "data.validation_fraction: it holds ", held_out, " of the ", rows, " rows of ", label,
          " out; at least one row must be left to train on and one to validate on")),
      FailureClass::kConfig);
}

// Pairs: both sets are views of one token file.
absl::Status HoldOutPairs(const DataSetFile& file, const DataConfig& config, uint64_t seed,
                          const DataContext& context, StopToken& stop, TrainingData* data) {
  ASSIGN_OR_RETURN(const std::shared_ptr<const TokenFile> all,
                   OpenTokenised(file, config, config.max_train_rows, context, stop));
  const int64_t held_out = CeilShare(config.validation_fraction, all->size());
  RETURN_IF_ERROR(CheckSplit(file.label(), all->size(), held_out));
  RowSplit split = SplitRows(all->size(), held_out, seed, config.max_validation_rows);
  data->train_counts = all->counts();
  data->train = std::make_shared<RowSubset>(all, std::move(split.train));
  data->validation = std::make_shared<RowSubset>(all, split.validation);
  data->validation_file = file;
  data->validation_rows = std::move(split.validation);
  return absl::OkStatus();
}

// Plain text is packed, so each part needs a file of its own.
absl::Status HoldOutText(const DataSetFile& file, const DataConfig& config, uint64_t seed,
                         const DataContext& context, StopToken& stop, TrainingData* data) {
  ASSIGN_OR_RETURN(const int64_t rows, CountRows(file, config, config.max_train_rows, stop));
  const int64_t held_out = CeilShare(config.validation_fraction, rows);
  RETURN_IF_ERROR(CheckSplit(file.label(), rows, held_out));
  const RowSplit split = SplitRows(rows, held_out, seed, config.max_validation_rows);
  const auto contains = [](const std::vector<int64_t>& part) {
    return [&part](int64_t row) { return std::binary_search(part.begin(), part.end(), row); };
  };
  // The rows' number follows from the data set and max_train_rows, which the key has.
  const std::string name = absl::StrCat(" last ", held_out, " of seed ", seed);
  const TextPart train = {absl::StrCat("all but the", name), contains(split.train)};
  const TextPart validation = {
      absl::StrCat("first ", split.validation.size(), " rows of the", name),
      contains(split.validation)};
  ASSIGN_OR_RETURN(const std::shared_ptr<const TokenFile> train_file,
                   OpenPart(file, config, config.max_train_rows, context, train, stop));
  ASSIGN_OR_RETURN(const std::shared_ptr<const TokenFile> validation_file,
                   OpenPart(file, config, config.max_train_rows, context, validation, stop));
  RETURN_IF_ERROR(CheckHasBlocks(
      *train_file, absl::StrCat("data.validation_fraction: what it leaves of ", file.label()),
      FailureClass::kConfig));
  RETURN_IF_ERROR(
      CheckHasBlocks(*validation_file,
                     absl::StrCat("data.validation_fraction: what it holds out of ", file.label()),
                     FailureClass::kConfig));
  data->train = train_file;
  data->train_counts = train_file->counts();
  data->validation = validation_file;
  data->validation_counts = validation_file->counts();
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::shared_ptr<const TokenFile>> OpenTokenised(const DataSetFile& file,
                                                               const DataConfig& config,
                                                               int64_t max_rows,
                                                               const DataContext& context,
                                                               StopToken& stop) {
  ASSIGN_OR_RETURN(std::shared_ptr<const TokenFile> tokens,
                   OpenPart(file, config, max_rows, context, TextPart(), stop));
  RETURN_IF_ERROR(CheckHasBlocks(*tokens, file.label(), FailureClass::kData));
  return tokens;
}

absl::StatusOr<TrainingData> PrepareTrainingData(const DataSetFile& train,
                                                 const DataSetFile& validation,
                                                 const DataConfig& config, uint64_t seed,
                                                 const DataContext& context, StopToken& stop) {
  TrainingData data;
  if (config.validation_fraction > 0) {
    RETURN_IF_ERROR(config.text_field.empty()
                        ? HoldOutPairs(train, config, seed, context, stop, &data)
                        : HoldOutText(train, config, seed, context, stop, &data));
    return data;
  }
  ASSIGN_OR_RETURN(const std::shared_ptr<const TokenFile> train_file,
                   OpenTokenised(train, config, config.max_train_rows, context, stop));
  data.train = train_file;
  data.train_counts = train_file->counts();
  if (validation.path.empty()) return data;
  ASSIGN_OR_RETURN(const std::shared_ptr<const TokenFile> validation_file,
                   OpenTokenised(validation, config, config.max_validation_rows, context, stop));
  data.validation = validation_file;
  data.validation_counts = validation_file->counts();
  if (config.text_field.empty()) {
    data.validation_file = validation;
    data.validation_rows.resize(static_cast<size_t>(validation_file->size()));
    std::iota(data.validation_rows.begin(), data.validation_rows.end(), int64_t{0});
  }
  return data;
}

}  // namespace graft
