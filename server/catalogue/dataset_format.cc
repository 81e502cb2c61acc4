#include "server/catalogue/dataset_format.h"

namespace graft {

DataFormat ToDataFormat(v1::DatasetFormat format) {
  switch (format) {
    case v1::DATASET_FORMAT_JSON_LINES:
      return DataFormat::kJsonLines;
    case v1::DATASET_FORMAT_CSV:
      return DataFormat::kCsv;
    case v1::DATASET_FORMAT_TEXT:
      return DataFormat::kText;
    default:
      return DataFormat::kAutomatic;
  }
}

v1::DatasetFormat FromDataFormat(DataFormat format) {
  switch (format) {
    case DataFormat::kJsonLines:
      return v1::DATASET_FORMAT_JSON_LINES;
    case DataFormat::kCsv:
      return v1::DATASET_FORMAT_CSV;
    case DataFormat::kText:
      return v1::DATASET_FORMAT_TEXT;
    case DataFormat::kAutomatic:
      break;
  }
  return v1::DATASET_FORMAT_UNSPECIFIED;
}

}  // namespace graft
