// What ApiClient uploads.

#include <algorithm>

#include "absl/strings/match.h"
#include "client/api_client.h"
#include "client/file_transfer.h"
#include "client/retry.h"
#include "client/upload.h"
#include "common/base/status_macros.h"
#include "common/rpc/deadline.h"

namespace graft {
namespace {

absl::StatusOr<std::vector<FileToSend>> HashFolder(const std::string& directory,
                                                   const std::vector<std::string>& names,
                                                   const UploadObserver& observer) {
  if (names.empty()) return absl::InvalidArgumentError(directory + " holds no files");
  std::vector<FileToSend> files;
  for (const std::string& name : names) files.push_back({name, JoinPath(directory, name)});
  RETURN_IF_ERROR(HashFiles(files, observer));
  return files;
}

// Uploads a folder on streams that `open` opens, each with the metadata first; on a broken one the
// server's status says more than ours.
template <typename Request, typename Open>
absl::Status UploadFolder(v1::UploadService::Stub& uploads, const UploadPatience& patience,
                          const Request& metadata, const std::vector<FileToSend>& folder,
                          const UploadObserver& observer, const Open& open) {
  const auto try_once = [&](const std::vector<FileToSend>& files, const auto& on_sent) {
    grpc::ClientContext context;
    context.set_deadline(DeadlineAfter(kTransferTimeout));
    const auto stream = open(&context);
    UploadEnd end;
    if (stream->Write(metadata)) {
      Request message;
      end.read = SendFiles(files, [&](const v1::FileChunk& chunk) {
        *message.mutable_chunk() = chunk;
        on_sent(static_cast<int64_t>(chunk.data().size()));
        return stream->Write(message);
      });
    }
    stream->WritesDone();
    end.call = EndOf(stream->Finish());
    return end;
  };
  return Upload(uploads, patience, folder, observer, try_once);
}

bool BelongsToModel(const std::string& name) {
  return name == "config.json" || name == "generation_config.json" || name == "vocab.json" ||
         name == "merges.txt" || name == "tokenizer.json" || name == "tokenizer_config.json" ||
         name == "special_tokens_map.json" || name == "added_tokens.json" ||
         name == "model.safetensors.index.json" ||
         (absl::EndsWith(name, ".safetensors") && !absl::StrContains(name, '/'));
}

}  // namespace

absl::StatusOr<v1::Dataset> ApiClient::UploadDataset(const std::string& name,
                                                     const std::string& path,
                                                     const UploadObserver& observer,
                                                     const std::string& sha256) {
  std::vector<FileToSend> file(1);
  file[0].name = BaseName(path);
  file[0].path = path;
  file[0].sha256 = sha256;
  RETURN_IF_ERROR(HashFiles(file, observer));
  v1::Dataset dataset;
  const auto try_once = [&](const std::vector<FileToSend>& files, const auto& on_sent) {
    const FileToSend& sent = files[0];
    v1::UploadDatasetRequest message;
    message.mutable_metadata()->set_name(name);
    message.mutable_metadata()->set_file_name(sent.name);
    message.mutable_metadata()->set_size_bytes(sent.size_bytes);
    message.mutable_metadata()->set_sha256(sent.sha256);
    message.mutable_metadata()->set_offset_bytes(sent.offset_bytes);
    grpc::ClientContext context;
    context.set_deadline(DeadlineAfter(kTransferTimeout));
    const auto stream = datasets_->UploadDataset(&context, &dataset);
    UploadEnd end;
    if (stream->Write(message)) {
      end.read = SendFile(path, sent.offset_bytes, [&](const std::string& piece) {
        message.set_data(piece);
        on_sent(static_cast<int64_t>(piece.size()));
        return stream->Write(message);
      });
    }
    stream->WritesDone();
    end.call = EndOf(stream->Finish());
    return end;
  };
  RETURN_IF_ERROR(Upload(*uploads_, upload_patience(), file, observer, try_once));
  return dataset;
}

absl::StatusOr<v1::Adapter> ApiClient::ImportAdapter(const std::string& name,
                                                     const std::string& base_model,
                                                     const std::string& directory,
                                                     const UploadObserver& observer) {
  ASSIGN_OR_RETURN(const std::vector<std::string> names, FilesBelow(directory));
  ASSIGN_OR_RETURN(const std::vector<FileToSend> folder, HashFolder(directory, names, observer));
  v1::ImportAdapterRequest metadata;
  metadata.mutable_metadata()->set_name(name);
  metadata.mutable_metadata()->set_base_model(base_model);
  v1::Adapter adapter;
  const auto open = [&](grpc::ClientContext* context) {
    return adapters_->ImportAdapter(context, &adapter);
  };
  RETURN_IF_ERROR(UploadFolder(*uploads_, upload_patience(), metadata, folder, observer, open));
  return adapter;
}

absl::StatusOr<v1::Model> ApiClient::ImportModel(const std::string& name,
                                                 const std::string& directory,
                                                 const UploadObserver& observer) {
  ASSIGN_OR_RETURN(std::vector<std::string> names, FilesBelow(directory));
  names.erase(std::remove_if(names.begin(), names.end(),
                             [](const std::string& file) { return !BelongsToModel(file); }),
              names.end());
  if (std::find(names.begin(), names.end(), "config.json") == names.end()) {
    return absl::InvalidArgumentError(directory +
                                      " is no Hugging Face model folder: config.json is missing");
  }
  ASSIGN_OR_RETURN(const std::vector<FileToSend> folder, HashFolder(directory, names, observer));
  v1::ImportModelRequest metadata;
  metadata.mutable_metadata()->set_name(name);
  v1::Model model;
  const auto open = [&](grpc::ClientContext* context) {
    return models_->ImportModel(context, &model);
  };
  RETURN_IF_ERROR(UploadFolder(*uploads_, upload_patience(), metadata, folder, observer, open));
  return model;
}

}  // namespace graft
