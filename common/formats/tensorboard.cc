#include "common/formats/tensorboard.h"

#include <array>
#include <bit>
#include <cstdio>

#include "absl/strings/str_cat.h"

namespace graft {
namespace {

// Protobuf wire types.
constexpr int kVarint = 0;
constexpr int kFixed64 = 1;
constexpr int kBytes = 2;
constexpr int kFixed32 = 5;

constexpr std::array<uint32_t, 256> MakeCrcTable() {
  std::array<uint32_t, 256> table{};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t value = i;
    for (int bit = 0; bit < 8; ++bit) value = value & 1 ? value >> 1 ^ 0x82f63b78u : value >> 1;
    table[i] = value;
  }
  return table;
}
constexpr std::array<uint32_t, 256> kCrcTable = MakeCrcTable();

template <typename Unsigned>
void AppendLittleEndian(Unsigned value, std::string& out) {
  for (size_t i = 0; i < sizeof(value); ++i)
    out.push_back(static_cast<char>(value >> (8 * i) & 0xff));
}

void AppendVarint(uint64_t value, std::string& out) {
  for (; value >= 0x80; value >>= 7) out.push_back(static_cast<char>(value | 0x80));
  out.push_back(static_cast<char>(value));
}

void AppendTag(int field, int wire_type, std::string& out) {
  AppendVarint(static_cast<uint64_t>(field << 3 | wire_type), out);
}

void AppendBytes(int field, absl::string_view bytes, std::string& out) {
  AppendTag(field, kBytes, out);
  AppendVarint(bytes.size(), out);
  absl::StrAppend(&out, bytes);
}

void AppendDouble(int field, double value, std::string& out) {
  AppendTag(field, kFixed64, out);
  AppendLittleEndian(std::bit_cast<uint64_t>(value), out);
}

// tensorflow.Summary (summary.proto): value = 1 { tag = 1, simple_value = 2 }.
std::string Summary(const std::map<std::string, double>& values) {
  std::string summary;
  for (const auto& [name, number] : values) {
    std::string value;
    AppendBytes(1, name, value);
    AppendTag(2, kFixed32, value);
    AppendLittleEndian(std::bit_cast<uint32_t>(static_cast<float>(number)), value);
    AppendBytes(1, value, summary);
  }
  return summary;
}

void AppendRecord(absl::string_view event, std::string& file) {
  std::string length;
  AppendLittleEndian(uint64_t{event.size()}, length);
  absl::StrAppend(&file, length);
  AppendLittleEndian(MaskedCrc32c(length), file);
  absl::StrAppend(&file, event);
  AppendLittleEndian(MaskedCrc32c(event), file);
}

double FirstTime(const std::vector<MetricRow>& rows) {
  return rows.empty() ? 0.0 : rows.front().wall_time_seconds;
}

}  // namespace

uint32_t Crc32c(absl::string_view bytes) {
  uint32_t crc = 0xffffffffu;
  for (const char c : bytes) crc = kCrcTable[(crc ^ static_cast<uint8_t>(c)) & 0xff] ^ crc >> 8;
  return ~crc;
}

uint32_t MaskedCrc32c(absl::string_view bytes) {
  return std::rotr(Crc32c(bytes), 15) + 0xa282ead8u;
}

// tensorflow.Event (event.proto): wall_time = 1, step = 2, file_version = 3, summary = 5.
void AppendTensorBoardHeader(double first_time, std::string& out) {
  std::string version;
  AppendDouble(1, first_time, version);
  AppendBytes(3, "brain.Event:2", version);
  AppendRecord(version, out);
}

void AppendTensorBoardEvent(const MetricRow& row, std::string& out) {
  std::string event;
  AppendDouble(1, row.wall_time_seconds, event);
  AppendTag(2, kVarint, event);
  AppendVarint(static_cast<uint64_t>(row.step), event);
  AppendBytes(5, Summary(row.values), event);
  AppendRecord(event, out);
}

std::string TensorBoardEvents(const std::vector<MetricRow>& rows) {
  std::string file;
  AppendTensorBoardHeader(FirstTime(rows), file);
  for (const MetricRow& row : rows) AppendTensorBoardEvent(row, file);
  return file;
}

std::string TensorBoardFileName(double first_time) {
  char seconds[32];
  std::snprintf(seconds, sizeof(seconds), "%010lld", static_cast<long long>(first_time));
  return absl::StrCat("events.out.tfevents.", seconds, ".graft");
}

std::string TensorBoardFileName(const std::vector<MetricRow>& rows) {
  return TensorBoardFileName(FirstTime(rows));
}

}  // namespace graft
