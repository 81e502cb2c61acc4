#include "worker/engine/evaluation/evaluation_record.h"

#include <fcntl.h>

#include <bit>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/sha256.h"
#include "common/base/status_macros.h"
#include "worker/engine/training/execution_json.h"

namespace graft {
namespace {

using RecordJson = nlohmann::json;

constexpr int kRecordFormat = 1;
constexpr char kRecord[] = "the evaluation's record";  // In errors.
constexpr size_t kPieceBytes = 1 << 20;
constexpr size_t kMaxLineBytes = 16 << 20;

// Sums are kept as the bits that they are.
RecordJson FromSum(const LossSum& sum) {
  RecordJson json = {{"sum_bits", std::bit_cast<uint64_t>(sum.sum)},
                     {"num_tokens", sum.num_tokens},
                     {"rows", sum.rows}};
  if (!sum.knows_rows) return json;
  RecordJson& of_rows = json["of_rows"] = RecordJson::array();
  for (const RowLoss& row : sum.of_rows) {
    of_rows.push_back({row.index, row.num_tokens, std::bit_cast<uint64_t>(row.sum)});
  }
  return json;
}

LossSum ToSum(const RecordJson& json) {
  LossSum sum = {std::bit_cast<double>(json.at("sum_bits").get<uint64_t>()),
                 json.at("num_tokens").get<int64_t>(), json.at("rows").get<int64_t>()};
  sum.knows_rows = sum.rows == 0 || json.contains("of_rows");
  if (!json.contains("of_rows")) return sum;
  for (const RecordJson& row : json.at("of_rows")) {
    sum.of_rows.push_back({row.at(0).get<int64_t>(), row.at(1).get<int64_t>(),
                           std::bit_cast<double>(row.at(2).get<uint64_t>())});
  }
  return sum;
}

std::string HeaderLine(const EvaluationSums& sums) {
  RecordJson json = {{"format", kRecordFormat},
                     {"fingerprint", sums.fingerprint},
                     {"execution", ExecutionToJson(sums.execution)},
                     {"loss", FromSum(sums.loss)},
                     {"untuned_loss", FromSum(sums.untuned_loss)},
                     {"rows", sums.rows}};
  for (const LossSum& loss : sums.more_losses) json["more_losses"].push_back(FromSum(loss));
  return json.dump() + "\n";
}

absl::StatusOr<EvaluationSums> ParseHeader(const std::string& line) {
  try {
    const RecordJson json = RecordJson::parse(line);
    if (json.at("format").get<int>() != kRecordFormat) {
      return absl::FailedPreconditionError("was written by another version of graft");
    }
    EvaluationSums sums = {json.at("fingerprint"), ExecutionFromJson(json.at("execution")),
                           ToSum(json.at("loss")), ToSum(json.at("untuned_loss")), json.at("rows")};
    if (!json.contains("more_losses")) return sums;
    for (const RecordJson& loss : json.at("more_losses")) sums.more_losses.push_back(ToSum(loss));
    return sums;
  } catch (const RecordJson::exception&) {
    return absl::DataLossError("begins with a broken line");
  }
}

RecordJson FromSummary(const Summary& text) {
  return {{"text", text.text},
          {"new_tokens", text.new_tokens},
          {"ended", text.ended},
          {"prompt_tokens", text.prompt_tokens},
          {"source_tokens_cut", text.source_tokens_cut}};
}

Summary ToSummary(const RecordJson& json) {
  return {json.at("text"), json.at("new_tokens"), json.at("ended"), json.at("prompt_tokens"),
          json.at("source_tokens_cut")};
}

}  // namespace

absl::StatusOr<EvaluationRecord> EvaluationRecord::Open(const std::string& path,
                                                        const std::string& fingerprint) {
  EvaluationRecord record({});
  if (absl::Status status = record.ReadHeader(path); !status.ok()) return Annotate(status, path);
  if (!fingerprint.empty() && record.sums_.fingerprint != fingerprint) {
    return absl::FailedPreconditionError(
        absl::StrCat(path,
                     ": is of another evaluation: its spec, base model, adapter, data or "
                     "number of threads are others"));
  }
  return record;
}

absl::Status EvaluationRecord::ReadHeader(const std::string& path) {
  ASSIGN_OR_RETURN(saved_, OpenFile(path, O_RDONLY));
  ASSIGN_OR_RETURN(const std::string header, NextLine());
  ASSIGN_OR_RETURN(sums_, ParseHeader(header));
  rows_begin_ = static_cast<int64_t>(header.size()) + 1;
  return absl::OkStatus();
}

absl::StatusOr<std::string> EvaluationRecord::NextLine() {
  for (size_t searched = 0;;) {
    if (const size_t end = buffer_.find('\n', searched); end != std::string::npos) {
      std::string line = buffer_.substr(0, end);
      buffer_.erase(0, end + 1);
      return line;
    }
    searched = buffer_.size();
    if (searched > kMaxLineBytes) return absl::DataLossError("has a line without an end");
    buffer_.resize(searched + kPieceBytes);
    ASSIGN_OR_RETURN(const size_t count,
                     ReadAt(saved_.get(), position_,
                            absl::MakeSpan(buffer_.data() + searched, kPieceBytes), kRecord));
    buffer_.resize(searched + count);
    position_ += static_cast<int64_t>(count);
    if (count == 0) return absl::DataLossError("ends before its last row");
  }
}

absl::StatusOr<std::vector<Summary>> EvaluationRecord::ReadRow() {
  const absl::StatusOr<std::string> line = NextLine();
  const std::string where = absl::StrCat(kRecord, ": row ", rows_read_++);
  if (!line.ok()) return Annotate(line.status(), where);
  try {
    std::vector<Summary> texts;
    for (const RecordJson& text : RecordJson::parse(*line)) texts.push_back(ToSummary(text));
    return texts;
  } catch (const RecordJson::exception&) {
    return absl::DataLossError(absl::StrCat(where, " is broken"));
  }
}

void EvaluationRecord::Add(const std::vector<const Summary*>& texts) {
  RecordJson line = RecordJson::array();
  for (const Summary* text : texts) line.push_back(FromSummary(*text));
  absl::StrAppend(&pending_, line.dump(), "\n");
  ++sums_.rows;
}

absl::StatusOr<CheckpointFile> EvaluationRecord::Save(const std::string& path, Pulse& pulse) {
  RETURN_IF_ERROR(CreateDirectories(DirectoryOf(path)));
  ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::Create(path));
  Sha256 hash;
  int64_t size = 0;
  const auto append = [&](absl::string_view bytes) {
    hash.Update(bytes);
    size += static_cast<int64_t>(bytes.size());
    pulse.Beat();
    return file.Append(bytes);
  };
  const std::string header = HeaderLine(sums_);
  RETURN_IF_ERROR(append(header));
  if (saved_.valid()) {
    std::string piece(kPieceBytes, '\0');
    for (int64_t at = rows_begin_;;) {
      ASSIGN_OR_RETURN(const size_t count,
                       ReadAt(saved_.get(), at, absl::MakeSpan(piece), kRecord));
      if (count == 0) break;
      RETURN_IF_ERROR(append(absl::string_view(piece.data(), count)));
      at += static_cast<int64_t>(count);
    }
  }
  RETURN_IF_ERROR(append(pending_));
  RETURN_IF_ERROR(file.Commit());
  ASSIGN_OR_RETURN(saved_, OpenFile(path, O_RDONLY));
  rows_begin_ = static_cast<int64_t>(header.size());
  pending_.clear();
  return CheckpointFile{BaseName(path), size, hash.Hex()};
}

absl::StatusOr<Execution> ReadEvaluationExecution(const std::string& path) {
  ASSIGN_OR_RETURN(EvaluationRecord record, EvaluationRecord::Open(path, ""));
  return record.sums().execution;
}

}  // namespace graft
