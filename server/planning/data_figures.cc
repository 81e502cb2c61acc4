#include "server/planning/data_figures.h"

#include <algorithm>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/base/utf8.h"
#include "common/jobs/row_split.h"
#include "common/jobs/share.h"
#include "common/text/data_reader.h"
#include "common/text/example_builder.h"
#include "common/text/unicode.h"
#include "server/catalogue/dataset_format.h"
#include "server/catalogue/lookup.h"
#include "server/planning/token_tally.h"

namespace graft {
namespace {

constexpr int64_t kRowsBetweenLooks = 64;

const v1::DataSpec& DataOf(const v1::JobSpec& spec) {
  return spec.has_evaluate() ? spec.evaluate().data() : spec.fine_tune().data();
}

// A data set's file, of which the job reads the first `rows` rows.
struct PlanFile {
  v1::Dataset dataset;
  std::string path;
  int64_t rows = 0;
};

absl::StatusOr<PlanFile> FindFile(const Catalogue& catalogue, const std::string& name,
                                  const std::string& sha256, int64_t max_rows) {
  PlanFile file;
  ASSIGN_OR_RETURN(file.dataset, FindDataset(catalogue.store, {name, "data"}));
  if (file.dataset.sha256() != sha256) {
    return absl::AbortedError(absl::StrCat("data set \"", name, "\" was replaced meanwhile"));
  }
  ASSIGN_OR_RETURN(file.path, catalogue.blobs.PathOf(sha256));
  file.rows = file.dataset.num_rows();
  if (max_rows > 0) file.rows = std::min(file.rows, max_rows);
  return file;
}

// The rows of one part of the job's data, as it trains on them or scores them.
class PartReader {
 public:
  // `builder`: nullptr for plain text, which is packed into blocks of `block` tokens.
  PartReader(const BpeTokenizer& tokenizer, const v1::DataSpec& data, const ExampleBuilder* builder,
             int64_t block)
      : tokenizer_(tokenizer), data_(data), builder_(builder), block_(block) {}

  absl::Status Add(const DataRow& row) {
    const std::string target = row.targets.empty() ? "" : row.targets[0];
    ++rows_;
    if (row.source.empty()) figures_.empty_sources.Add(row.line);
    if (builder_ == nullptr) {
      example_.ids.clear();
      RETURN_IF_ERROR(tokenizer_.EncodeTo(row.source, {}, &example_.ids));
      sources_.Add(static_cast<int64_t>(example_.ids.size()) + 1, 0);  // And the end of text.
      return absl::OkStatus();
    }
    RETURN_IF_ERROR(builder_->Build(row.source, target, &example_));
    const auto targets = static_cast<int64_t>(example_.ids.size()) - example_.num_prompt_tokens;
    sources_.Add(example_.num_prompt_tokens + example_.source_tokens_cut,
                 example_.source_tokens_cut);
    targets_.Add(targets + example_.target_tokens_cut, example_.target_tokens_cut);
    if (target.empty()) figures_.empty_targets.Add(row.line);
    CountLetters(target);
    NoteCut(row);
    return absl::OkStatus();
  }

  // `rows`: that the part has.
  PartFigures Result(const std::string& dataset, int64_t rows) {
    v1::DataPlan& plan = figures_.plan;
    plan.set_dataset(dataset);
    plan.set_rows(rows);
    plan.set_rows_read(rows_);
    if (builder_ != nullptr) {
      *plan.mutable_source() = sources_.Counts(data_.max_source_tokens());
      *plan.mutable_target() = targets_.Counts(data_.max_target_tokens());
      figures_.examples = rows;
    } else {
      *plan.mutable_source() = sources_.Counts(0);
      // A last block of one token is dropped, as the engine does.
      const int64_t rest = sources_.tokens() % block_;
      if (rows_ == rows) figures_.examples = sources_.tokens() / block_ + (rest > 1 ? 1 : 0);
    }
    for (const v1::CutRow& cut : cuts_) *plan.add_most_cut() = cut;
    return std::move(figures_);
  }

 private:
  void CountLetters(const std::string& text) {
    const CharClasses& classes = CharClasses::Get();
    for (size_t at = 0; at < text.size();) {
      const DecodedChar c = DecodeValidUtf8(text.data() + at);
      at += c.size;
      const CharClass kind = classes.Of(c.code_point);
      if (kind != CharClass::kLetter && kind != CharClass::kNumber) continue;
      ++figures_.letters;
      figures_.rouge_letters += c.code_point < 0x80;
    }
  }

  static int64_t CutOf(const v1::CutRow& row) {
    return row.source_tokens_cut() + row.target_tokens_cut();
  }
  void NoteCut(const DataRow& row) {
    v1::CutRow cut;
    cut.set_source_tokens_cut(example_.source_tokens_cut);
    cut.set_target_tokens_cut(example_.target_tokens_cut);
    const bool full = cuts_.size() == kMaxCutRows;
    if (CutOf(cut) == 0 || (full && CutOf(cut) <= CutOf(cuts_.back()))) return;
    cut.set_line(row.line);
    cut.set_id(Shortened(row.id, kMaxPlanIdBytes));
    if (full) cuts_.pop_back();
    const auto place = std::find_if(cuts_.begin(), cuts_.end(), [&](const v1::CutRow& other) {
      return CutOf(other) < CutOf(cut);
    });
    cuts_.insert(place, std::move(cut));
  }

  const BpeTokenizer& tokenizer_;
  const v1::DataSpec& data_;
  const ExampleBuilder* const builder_;
  const int64_t block_;
  TokenExample example_;
  TokenTally sources_, targets_;
  std::vector<v1::CutRow> cuts_;  // Most first.
  int64_t rows_ = 0;
  PartFigures figures_;
};

class FiguresReader {
 public:
  FiguresReader(const Catalogue& catalogue, const v1::JobSpec& resolved, const Gone& gone)
      : catalogue_(catalogue), resolved_(resolved), data_(DataOf(resolved)), gone_(gone) {}

  absl::StatusOr<DataFigures> Read(const v1::Model& model, int64_t virtual_tokens) {
    ASSIGN_OR_RETURN(tokenizer_, catalogue_.tokenizers.Get(model));
    block_ = model.n_positions() - virtual_tokens;
    if (!data_.has_text_field()) {
      ASSIGN_OR_RETURN(
          ExampleBuilder builder,
          ExampleBuilder::Create(*tokenizer_, {data_.prompt_template(), data_.max_source_tokens(),
                                               data_.max_target_tokens(), block_}));
      builder_.emplace(std::move(builder));
    }
    RETURN_IF_ERROR(ReadParts());
    figures_.overlap = overlap_.Result();
    return std::move(figures_);
  }

 private:
  using Keep = std::function<bool(int64_t row)>;
  enum class Part { kTrain, kValidation };

  // The validation comes first, for the overlap.
  absl::Status ReadParts() {
    if (!data_.validation_sha256().empty()) {
      ASSIGN_OR_RETURN(const PlanFile file,
                       FindFile(catalogue_, data_.validation(), data_.validation_sha256(),
                                data_.max_validation_rows()));
      ASSIGN_OR_RETURN(figures_.validation, ReadPart(file, Part::kValidation, file.rows, nullptr));
    }
    if (!resolved_.has_fine_tune()) return absl::OkStatus();
    ASSIGN_OR_RETURN(const PlanFile file, FindFile(catalogue_, data_.train(), data_.train_sha256(),
                                                   data_.max_train_rows()));
    if (data_.has_validation_fraction()) return ReadSplit(file);
    ASSIGN_OR_RETURN(figures_.train, ReadPart(file, Part::kTrain, file.rows, nullptr));
    return absl::OkStatus();
  }

  absl::Status ReadSplit(const PlanFile& file) {
    const int64_t held_out = CeilShare(data_.validation_fraction(), file.rows);
    const int64_t most = data_.max_validation_rows();
    const int64_t validated = most > 0 ? std::min(held_out, most) : held_out;
    RowSplit split;
    if (file.rows <= kMaxPlanSplitRows) {
      split = SplitRows(file.rows, held_out, resolved_.fine_tune().training().seed(), most);
    }
    const auto within = [](const std::vector<int64_t>& rows) {
      return [&rows](int64_t row) { return std::binary_search(rows.begin(), rows.end(), row); };
    };
    ASSIGN_OR_RETURN(figures_.validation,
                     ReadPart(file, Part::kValidation, validated, within(split.validation)));
    ASSIGN_OR_RETURN(figures_.train,
                     ReadPart(file, Part::kTrain, file.rows - held_out, within(split.train)));
    return absl::OkStatus();
  }

  // `rows`: that the part has. The bound is one of the file's rows, so that the parts of a split
  // end at the same one.
  absl::StatusOr<PartFigures> ReadPart(const PlanFile& file, Part part, int64_t rows,
                                       const Keep& keep) {
    PartReader reader(*tokenizer_, data_, builder_ ? &*builder_ : nullptr, block_);
    const bool too_many = keep != nullptr && file.rows > kMaxPlanSplitRows;
    const absl::Status read =
        too_many ? absl::OkStatus() : ReadFile(file, [&](int64_t index, const DataRow& row) {
          if (keep != nullptr && !keep(index)) return absl::OkStatus();
          const std::string target = row.targets.empty() ? "" : row.targets[0];
          if (part == Part::kValidation && resolved_.has_fine_tune()) {
            overlap_.AddValidation(row.line, row.source, target);
          } else if (part == Part::kTrain) {
            overlap_.AddTraining(row.line, row.source, target);
          }
          return Annotate(reader.Add(row), absl::StrCat("line ", row.line));
        });
    if (!read.ok()) {
      return Annotate(read, absl::StrCat("data set \"", file.dataset.name(), "\""));
    }
    return reader.Result(file.dataset.name(), rows);
  }

  absl::Status ReadFile(const PlanFile& file,
                        const std::function<absl::Status(int64_t, const DataRow&)>& visit) {
    DataFields fields;
    if (data_.has_text_field()) {
      fields.text_field = data_.text_field();
    } else {
      fields.source_field = data_.source_field();
      fields.target_field = data_.target_field();
    }
    ASSIGN_OR_RETURN(DataReader reader,
                     DataReader::Open(file.path, fields, ToDataFormat(file.dataset.format())));
    DataRow row;
    int64_t bytes = 0;
    for (int64_t i = 0; i < std::min(file.rows, kMaxPlanRows) && bytes < kMaxPlanTextBytes; ++i) {
      if (i % kRowsBetweenLooks == 0) RETURN_IF_ERROR(CheckWanted(gone_));
      ASSIGN_OR_RETURN(const bool more, reader.Next(&row));
      if (!more) break;
      bytes += static_cast<int64_t>(row.source.size());
      if (!row.targets.empty()) bytes += static_cast<int64_t>(row.targets[0].size());
      RETURN_IF_ERROR(visit(i, row));
    }
    return absl::OkStatus();
  }

  const Catalogue& catalogue_;
  const v1::JobSpec& resolved_;
  const v1::DataSpec& data_;
  const Gone& gone_;
  std::shared_ptr<const BpeTokenizer> tokenizer_;
  std::optional<ExampleBuilder> builder_;  // Nothing: plain text.
  int64_t block_ = 0;
  OverlapFinder overlap_;
  DataFigures figures_;
};

}  // namespace

absl::StatusOr<DataFigures> ReadDataFigures(const Catalogue& catalogue, const v1::JobSpec& resolved,
                                            const v1::Model& model, int64_t virtual_tokens,
                                            const Gone& gone) {
  return FiguresReader(catalogue, resolved, gone).Read(model, virtual_tokens);
}

}  // namespace graft
