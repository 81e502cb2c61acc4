#include <memory>
#include <nlohmann/json.hpp>

#include "absl/algorithm/container.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "common/base/utf8.h"
#include "common/formats/float_convert.h"
#include "common/formats/json_util.h"
#include "common/methods/method.h"
#include "common/methods/peft_adapter.h"

namespace graft {
namespace {

constexpr char kAdapterConfig[] = "adapter_config.json";
constexpr char kAdapterWeights[] = "adapter_model.safetensors";
constexpr int64_t kMaxAdapterConfigBytes = int64_t{1} << 20;

}  // namespace

void AdapterReader::Begin(const SafetensorsFile& file) {
  file_ = &file;
  used_.clear();
  problems_.clear();
}

void AdapterReader::Take(const std::string& stored, const TensorShape& tensor, bool only_expect) {
  const TensorView* view = file_->Find(stored);
  used_.insert(stored);
  if (view == nullptr) {
    problems_.push_back(absl::StrCat(stored, " ", ShapeText(tensor.shape), " is missing"));
  } else if (view->shape != tensor.shape) {
    problems_.push_back(absl::StrCat(stored, " has shape ", ShapeText(view->shape),
                                     ", but the base model and adapter_config.json make it ",
                                     ShapeText(tensor.shape)));
  } else if (!IsFloat(view->dtype)) {
    problems_.push_back(absl::StrCat(stored, " is ", DTypeName(view->dtype), ", no float type"));
  } else if (!only_expect) {
    tensors.push_back(*view);
    tensors.back().name = tensor.name;
  }
}

absl::Status AdapterReader::End() {
  for (const TensorView& tensor : file_->tensors()) {
    // A second name that some writers add for transformers' own loader.
    if (absl::StrContains(tensor.name, ".modules_to_save.default.")) continue;
    if (!used_.contains(tensor.name)) {
      problems_.push_back(
          absl::StrCat(Shortened(tensor.name, 200), " belongs to nothing in adapter_config.json"));
    }
  }
  if (problems_.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("does not fit: ", absl::StrJoin(problems_, "; ")));
}

absl::StatusOr<AdapterFolder> AdapterFolder::Open(const std::string& directory,
                                                  const Gpt2Config& gpt2) {
  if (!DirectoryExists(directory)) {
    return absl::NotFoundError(absl::StrCat("there is no adapter directory ", directory));
  }
  AdapterFolder folder;
  AdapterReader reader(folder, gpt2);
  if (FileExists(JoinPath(directory, kAdapterConfig))) {
    RETURN_IF_ERROR(folder.AddPeftDirectory(directory, reader));
  } else if (absl::c_all_of(kAdapterDirectories, [&](const char* part) {
               return DirectoryExists(JoinPath(directory, part));
             })) {
    for (const char* part : kAdapterDirectories) {
      RETURN_IF_ERROR(folder.AddPeftDirectory(JoinPath(directory, part), reader));
    }
  } else {
    return absl::NotFoundError(absl::StrCat(directory, " has no ", kAdapterConfig,
                                            ", nor the directories ",
                                            absl::StrJoin(kAdapterDirectories, " and ")));
  }
  for (const Method* method : MethodsOf(folder.parts_)) method->Finish(reader);
  return folder;
}

absl::Status AdapterFolder::AddPeftDirectory(const std::string& directory, AdapterReader& reader) {
  const std::string config_path = JoinPath(directory, kAdapterConfig);
  const std::string weights_path = JoinPath(directory, kAdapterWeights);
  ASSIGN_OR_RETURN(const std::string text, ReadFile(config_path, kMaxAdapterConfigBytes));
  const absl::Status known = CheckPeftConfig(text);
  if (!known.ok()) return Annotate(known, config_path);
  if (!FileExists(weights_path)) {
    const bool pickled = FileExists(JoinPath(directory, "adapter_model.bin"));
    return absl::NotFoundError(absl::StrCat(weights_path, " is not there",
                                            pickled ? "; adapter_model.bin is not read" : ""));
  }
  ASSIGN_OR_RETURN(SafetensorsFile file, SafetensorsFile::Open(weights_path));
  files_.push_back(std::make_unique<SafetensorsFile>(std::move(file)));
  reader.Begin(*files_.back());
  ASSIGN_OR_RETURN(const nlohmann::json config, ParseJsonObject(text));
  ASSIGN_OR_RETURN(const Method* const method, MethodOfPeftConfig(config));
  const absl::Status understood = method->Read(config, text, reader);
  if (!understood.ok()) return Annotate(understood, config_path);
  return Annotate(reader.End(), weights_path);
}

const TensorView* AdapterFolder::Find(absl::string_view name) const {
  const auto found =
      absl::c_find_if(tensors_, [&](const TensorView& tensor) { return tensor.name == name; });
  return found == tensors_.end() ? nullptr : &*found;
}

}  // namespace graft
