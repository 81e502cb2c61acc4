#include "server/catalogue/dataset_upload.h"

#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/errors/status_details.h"
#include "common/jobs/names.h"
#include "common/text/data_problems.h"
#include "server/catalogue/dataset_format.h"

namespace graft {
namespace {

DataFormat FormatOf(const v1::UploadDatasetRequest::Metadata& metadata) {
  const DataFormat said = ToDataFormat(metadata.format());
  return said == DataFormat::kAutomatic ? FormatOfName(metadata.file_name()) : said;
}

}  // namespace

absl::Status CheckDatasetRows(const FileBlobStore& blobs, DataFormat format, const Gone& gone,
                              v1::Dataset* dataset) {
  ASSIGN_OR_RETURN(const std::string path, blobs.PathOf(dataset->sha256()));
  DataFields fields;
  fields.check_only = true;
  ASSIGN_OR_RETURN(DataReader reader, DataReader::Open(path, fields, format));
  ASSIGN_OR_RETURN(const DataProblems problems, FindProblems(reader, 0, gone));
  if (!problems.empty()) return absl::InvalidArgumentError(problems.Text());
  dataset->set_num_rows(reader.num_rows());
  dataset->set_format(FromDataFormat(reader.format()));
  for (const std::string& name : reader.field_names()) dataset->add_fields(name);
  return absl::OkStatus();
}

absl::Status DatasetUploadSink::Begin(const v1::UploadDatasetRequest::Metadata& metadata) {
  RETURN_IF_ERROR(ValidateName(metadata.name(), "metadata.name"));
  Violations violations;
  if (!v1::DatasetFormat_IsValid(metadata.format())) {
    violations.Add("metadata.format", "is no format this server knows");
  }
  RETURN_IF_ERROR(violations.ToStatus());
  metadata_ = metadata;
  AnnouncedFile file = {"metadata", std::nullopt, metadata.sha256(), metadata.offset_bytes()};
  if (metadata.size_bytes() != 0) file.size_bytes = metadata.size_bytes();
  return file_.Begin(file);
}

absl::Status DatasetUploadSink::OnMessage(v1::UploadDatasetRequest& message) {
  if (message.has_metadata()) {
    if (file_.begun()) return FieldViolation("metadata", "may come only once");
    return Begin(message.metadata());
  }
  if (!file_.begun()) return FieldViolation("metadata", "must be the first message of an upload");
  RETURN_IF_ERROR(CheckPiece(message.data(), "data"));
  return file_.Append(message.data());
}

absl::Status DatasetUploadSink::OnEnd(const Gone& gone) {
  if (!file_.begun()) return FieldViolation("metadata", "the upload was empty");
  ASSIGN_OR_RETURN(const BlobInfo blob, file_.Commit());
  v1::Dataset dataset;
  dataset.set_name(metadata_.name());
  dataset.set_size_bytes(blob.size_bytes);
  dataset.set_sha256(blob.sha256);
  const absl::Status checked =
      CheckDatasetRows(catalogue_.blobs, FormatOf(metadata_), gone, &dataset);
  if (!checked.ok()) {
    return Annotate(checked, absl::StrCat("data set \"", metadata_.name(), "\""));
  }
  // A stream that broke looks like one that ended; half a data set must not get a name.
  RETURN_IF_ERROR(CheckWanted(gone));
  ASSIGN_OR_RETURN(*response_, catalogue_.store.InsertDataset(dataset));
  return absl::OkStatus();
}

}  // namespace graft
