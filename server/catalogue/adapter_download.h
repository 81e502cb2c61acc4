#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "graft/v1/adapter.pb.h"
#include "server/catalogue/catalogue.h"
#include "server/streams/message_stream.h"

namespace graft {

using FileSource = std::unique_ptr<MessageSource<v1::FileChunk>>;

// What an adapter's downloads send. Everything is made a piece at a time as it is sent, from mapped
// files, so that nothing is left behind however the call ends. Blocks on the disk.

// The adapter's files, for another PEFT when the request says so. NOT_FOUND; INVALID_ARGUMENT:
// what AdapterExport cannot express, as a violation of `peft_version`.
absl::StatusOr<FileSource> OpenAdapterDownload(const Catalogue& catalogue,
                                               const v1::DownloadAdapterRequest& request);

// The merged model's folder. NOT_FOUND; INVALID_ARGUMENT: `dtype`; FAILED_PRECONDITION: see
// MergedModel.
absl::StatusOr<FileSource> OpenMergedModel(const Catalogue& catalogue,
                                           const v1::MergeAdapterRequest& request);

}  // namespace graft
