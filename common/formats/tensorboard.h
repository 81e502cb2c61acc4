#pragma once

// TensorBoard event files: TFRecords (length, masked CRC-32C of it, bytes, masked CRC-32C of them)
// of tensorflow.Event messages, which are encoded here by hand: four fields are needed, and
// TensorFlow's .proto files would come with many more.

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "common/formats/metric_row.h"

namespace graft {

// The whole file: the version record ("brain.Event:2"), then one event a row with each metric as a
// scalar (float, the type that TensorBoard's scalars have).
std::string TensorBoardEvents(const std::vector<MetricRow>& rows);

// "events.out.tfevents.<seconds of the first row>.graft": the same for the same log.
std::string TensorBoardFileName(const std::vector<MetricRow>& rows);

// The same in parts, for logs that are not held in memory. `first_time` is the wall time of the
// first row in seconds, 0 for an empty log.
std::string TensorBoardFileName(double first_time);
void AppendTensorBoardHeader(double first_time, std::string& out);
void AppendTensorBoardEvent(const MetricRow& row, std::string& out);

// CRC-32C (Castagnoli; RFC 3720, B.4), and TFRecord's masked form of it.
uint32_t Crc32c(absl::string_view bytes);
uint32_t MaskedCrc32c(absl::string_view bytes);

}  // namespace graft
