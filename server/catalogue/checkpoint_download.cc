#include "server/catalogue/checkpoint_download.h"

#include <map>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/base/status_macros.h"
#include "common/errors/status_details.h"
#include "common/formats/float_convert.h"
#include "common/formats/gpt2_config.h"
#include "common/formats/model_folder.h"
#include "common/formats/safetensors_stream.h"
#include "common/jobs/artifacts.h"
#include "common/methods/adapter_files.h"
#include "common/methods/method_spec.h"
#include "server/catalogue/file_chunks.h"

namespace graft {
namespace {

constexpr char kStateFile[] = "state.safetensors";
// Before the names of the tensors that train; optimiser and best ones have others.
constexpr char kTrained[] = "trained/";

// The trained tensors of a checkpoint, read from its blob a piece at a time.
class TrainedTensors {
 public:
  static absl::StatusOr<std::shared_ptr<const TrainedTensors>> Open(const BlobStore& blobs,
                                                                    const CheckpointFiles& from) {
    const auto file = absl::c_find_if(
        from.files, [](const v1::Artifact& each) { return each.path() == kStateFile; });
    if (file == from.files.end()) {
      return absl::DataLossError(absl::StrCat("the checkpoint has no ", kStateFile));
    }
    ASSIGN_OR_RETURN(std::unique_ptr<BlobReader> blob, blobs.Open(file->sha256()));
    std::string prefix;
    RETURN_IF_ERROR(Read(*blob, 0, sizeof(uint64_t), prefix));
    ASSIGN_OR_RETURN(const int64_t header_bytes,
                     SafetensorsHeaderSize(std::as_bytes(std::span(prefix)), blob->size_bytes()));
    prefix.clear();
    RETURN_IF_ERROR(Read(*blob, 0, static_cast<size_t>(header_bytes), prefix));
    ASSIGN_OR_RETURN(SafetensorsHeader header,
                     ParseSafetensorsHeader(std::as_bytes(std::span(prefix)), blob->size_bytes()));
    return std::shared_ptr<const TrainedTensors>(
        new TrainedTensors(std::move(blob), std::move(header)));
  }

  // As they are sent.
  const std::vector<TensorInfo>& infos() const { return infos_; }

  // Appends elements of a tensor as F32.
  absl::Status Append(const std::string& name, int64_t first, int64_t count,
                      std::string& bytes) const {
    const SafetensorsEntry& entry = entries_.at(name);
    const int64_t item = ItemSizeBytes(entry.dtype);
    std::string stored;
    RETURN_IF_ERROR(Read(*blob_, data_begin_ + entry.begin + first * item,
                         static_cast<size_t>(count * item), stored));
    if (entry.dtype == DType::kF32) {
      bytes += stored;
      return absl::OkStatus();
    }
    TensorView view;
    view.dtype = entry.dtype;
    view.shape = {count};
    view.bytes = std::as_bytes(std::span(stored));
    std::vector<double> values(static_cast<size_t>(count));
    ReadFloats(view, 0, values);
    AppendFloats(values, DType::kF32, bytes);
    return absl::OkStatus();
  }

 private:
  TrainedTensors(std::unique_ptr<BlobReader> blob, SafetensorsHeader header)
      : blob_(std::move(blob)), data_begin_(header.data_begin) {
    for (SafetensorsEntry& entry : header.entries) {
      absl::string_view name = entry.name;
      if (!absl::ConsumePrefix(&name, kTrained) || !IsFloat(entry.dtype)) continue;
      infos_.push_back({std::string(name), DType::kF32, entry.shape});
      entries_[std::string(name)] = std::move(entry);
    }
  }

  static absl::Status Read(const BlobReader& blob, int64_t offset, size_t count,
                           std::string& bytes) {
    bytes.resize(count);
    ASSIGN_OR_RETURN(const size_t read, blob.ReadAt(offset, absl::MakeSpan(bytes)));
    return read == count ? absl::OkStatus() : absl::DataLossError("a checkpoint's file is short");
  }

  const std::unique_ptr<BlobReader> blob_;
  const int64_t data_begin_;
  std::vector<TensorInfo> infos_;
  std::map<std::string, SafetensorsEntry> entries_;
};

using Trained = std::shared_ptr<const TrainedTensors>;

absl::StatusOr<OutgoingFile> WeightsFile(const AdapterFile& file, const Trained& trained) {
  ASSIGN_OR_RETURN(SafetensorsStream stream,
                   StreamWeights(file, [trained](const TensorInfo& tensor, int64_t first,
                                                 int64_t count, std::string& bytes) {
                     return trained->Append(tensor.name, first, count, bytes);
                   }));
  return StreamFile(file.path, std::move(stream));
}

absl::StatusOr<std::vector<OutgoingFile>> AdapterFiles(const CheckpointFiles& checkpoint,
                                                       const Gpt2Config& gpt2,
                                                       const Trained& trained) {
  const v1::FineTuneSpec& spec = checkpoint.job.resolved_spec().fine_tune();
  AdapterWriteOptions options;
  options.base_model_name = spec.base_model();
  options.title = absl::StrCat(spec.output_name(), ", step ", checkpoint.step);
  ASSIGN_OR_RETURN(const std::vector<AdapterFile> planned,
                   PlanAdapter(gpt2, ToMethodConfig(spec.method()), trained->infos(), options));
  std::vector<OutgoingFile> files;
  for (const AdapterFile& file : planned) {
    if (file.tensors.empty()) {
      files.push_back(TextFile(file.path, file.text));
      continue;
    }
    ASSIGN_OR_RETURN(files.emplace_back(), WeightsFile(file, trained));
  }
  return files;
}

absl::StatusOr<std::vector<OutgoingFile>> ModelFiles(const Catalogue& catalogue,
                                                     const v1::Model& base, const Gpt2Config& gpt2,
                                                     const Trained& trained) {
  std::vector<OutgoingFile> files = {TextFile("config.json", Gpt2ConfigJson(gpt2))};
  for (const v1::Artifact& file : base.files()) {
    if (absl::c_linear_search(kTokenizerFiles, file.path())) {
      files.push_back(BlobFile(catalogue.blobs, file));
    }
  }
  AdapterFile weights = {"model.safetensors", "", {}};
  for (const TensorInfo& tensor : trained->infos()) {
    weights.tensors.push_back({tensor, tensor.name});
    weights.tensors.back().stored.name = StoredTensorName(tensor.name);
  }
  ASSIGN_OR_RETURN(files.emplace_back(), WeightsFile(weights, trained));
  return files;
}

}  // namespace

absl::StatusOr<FileSource> OpenCheckpointDownload(const Catalogue& catalogue,
                                                  const std::string& name) {
  ASSIGN_OR_RETURN(const CheckpointFiles checkpoint, catalogue.store.ReadCheckpoint(name));
  const v1::JobSpec& resolved = checkpoint.job.resolved_spec();
  if (!resolved.has_fine_tune()) {
    return WithReason(absl::FailedPreconditionError(absl::StrCat(
                          checkpoint.job.name(), " is an evaluation; it trains no adapter")),
                      kReasonWrongState);
  }
  ASSIGN_OR_RETURN(const v1::Model base,
                   catalogue.store.GetModel(resolved.fine_tune().base_model()));
  ASSIGN_OR_RETURN(const std::string directory, catalogue.publisher.DirectoryOf(base));
  ASSIGN_OR_RETURN(const Gpt2Config gpt2, ReadGpt2Config(directory));
  ASSIGN_OR_RETURN(const Trained trained, TrainedTensors::Open(catalogue.blobs, checkpoint));
  ASSIGN_OR_RETURN(std::vector<OutgoingFile> files, MakesModel(resolved.fine_tune().method())
                                                        ? ModelFiles(catalogue, base, gpt2, trained)
                                                        : AdapterFiles(checkpoint, gpt2, trained));
  return std::make_unique<FileChunkSource>(std::move(files), trained);
}

}  // namespace graft
