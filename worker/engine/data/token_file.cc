#include "worker/engine/data/token_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"

namespace graft {
namespace {

constexpr uint64_t kMagic = 0x3230534449544647;  // "GFTIDS02"; 01 had no hash.
constexpr size_t kBufferBytes = 1 << 20;

struct IndexRecord {
  uint64_t begin;
  uint32_t count;
  uint32_t prompt_count;
  uint64_t line;
};
static_assert(sizeof(IndexRecord) == 24);

struct Footer {
  uint64_t num_ids;
  uint64_t num_examples;
  uint64_t index_offset;
  TokenCounts counts;
  char sha256[64];  // Hexadecimal, of all bytes before it.
  uint64_t magic;
};
constexpr size_t kHashedFooterBytes = offsetof(Footer, sha256);

IndexRecord ReadRecord(const char* index, int64_t i) {
  IndexRecord record;
  std::memcpy(&record, index + static_cast<size_t>(i) * sizeof(IndexRecord), sizeof(record));
  return record;
}

absl::string_view BytesOf(const Footer& footer) {
  return {reinterpret_cast<const char*>(&footer), sizeof(footer)};
}

absl::Status Broken(const std::string& path, absl::string_view what) {
  return absl::DataLossError(absl::StrCat(path, ": ", what));
}

}  // namespace

absl::StatusOr<std::shared_ptr<const TokenFile>> TokenFile::Open(const std::string& path) {
  ASSIGN_OR_RETURN(MappedFile mapped, MappedFile::Open(path));
  const std::span<const std::byte> bytes = mapped.bytes();
  if (bytes.size() < sizeof(Footer)) return Broken(path, "too short for a token file");
  Footer footer;
  std::memcpy(&footer, bytes.data() + bytes.size() - sizeof(Footer), sizeof(Footer));
  if (footer.magic != kMagic) return Broken(path, "not a token file");
  const uint64_t body = bytes.size() - sizeof(Footer);
  if (Sha256Hex({reinterpret_cast<const char*>(bytes.data()), body + kHashedFooterBytes}) !=
      absl::string_view(footer.sha256, sizeof(footer.sha256))) {
    return Broken(path, "its bytes are not those that were written");
  }
  const uint64_t max_items = body / sizeof(int32_t);
  if (footer.num_ids > max_items || footer.num_examples > max_items ||
      footer.index_offset < footer.num_ids * sizeof(int32_t) || footer.index_offset > body ||
      footer.num_examples * sizeof(IndexRecord) != body - footer.index_offset) {
    return Broken(path, "sizes do not agree");
  }
  auto file = std::shared_ptr<TokenFile>(new TokenFile());
  file->index_ = reinterpret_cast<const char*>(bytes.data()) + footer.index_offset;
  file->num_examples_ = static_cast<int64_t>(footer.num_examples);
  file->counts_ = footer.counts;
  for (int64_t i = 0; i < file->num_examples_; ++i) {
    const IndexRecord record = ReadRecord(file->index_, i);
    if (record.begin > footer.num_ids || record.count > footer.num_ids - record.begin ||
        record.prompt_count > record.count) {
      return Broken(path, absl::StrCat("index record ", i, " is out of range"));
    }
  }
  file->file_ = std::move(mapped);
  return std::shared_ptr<const TokenFile>(std::move(file));
}

Example TokenFile::Get(int64_t index) const {
  const IndexRecord record = ReadRecord(index_, index);
  const auto* ids = reinterpret_cast<const int32_t*>(file_.bytes().data());
  return {std::span<const int32_t>(ids + record.begin, record.count), record.prompt_count};
}

int64_t TokenFile::Line(int64_t index) const {
  return static_cast<int64_t>(ReadRecord(index_, index).line);
}

absl::StatusOr<std::unique_ptr<TokenFileWriter>> TokenFileWriter::Create(const std::string& path) {
  ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::Create(path));
  const std::string index_path = absl::StrCat(path, ".index-", getpid());
  (void)RemoveFile(index_path);  // Left by a process of the same number that was killed.
  ASSIGN_OR_RETURN(UniqueFd index, OpenFile(index_path, O_CREAT | O_EXCL | O_RDWR));
  RETURN_IF_ERROR(RemoveFile(index_path));
  return std::unique_ptr<TokenFileWriter>(
      new TokenFileWriter(std::move(file), std::move(index), path));
}

absl::Status TokenFileWriter::Append(std::span<const int32_t> ids, int64_t num_prompt_tokens,
                                     int64_t line) {
  const IndexRecord record = {static_cast<uint64_t>(num_ids_), static_cast<uint32_t>(ids.size()),
                              static_cast<uint32_t>(num_prompt_tokens),
                              static_cast<uint64_t>(line)};
  ids_buffer_.append(reinterpret_cast<const char*>(ids.data()), ids.size_bytes());
  index_buffer_.append(reinterpret_cast<const char*>(&record), sizeof(record));
  num_ids_ += static_cast<int64_t>(ids.size());
  ++num_examples_;
  if (ids_buffer_.size() >= kBufferBytes) {
    RETURN_IF_ERROR(AppendHashed(ids_buffer_));
    ids_buffer_.clear();
  }
  if (index_buffer_.size() >= kBufferBytes) {
    RETURN_IF_ERROR(WriteAll(index_.get(), index_buffer_, path_));
    index_buffer_.clear();
  }
  return absl::OkStatus();
}

absl::Status TokenFileWriter::AppendHashed(absl::string_view bytes) {
  hash_.Update(bytes);
  return file_.Append(bytes);
}

absl::Status TokenFileWriter::CopyIndex() {
  RETURN_IF_ERROR(WriteAll(index_.get(), index_buffer_, path_));
  std::string buffer(kBufferBytes, '\0');
  for (int64_t offset = 0;;) {
    ASSIGN_OR_RETURN(const size_t count,
                     ReadAt(index_.get(), offset, absl::MakeSpan(buffer), path_));
    if (count == 0) return absl::OkStatus();
    RETURN_IF_ERROR(AppendHashed(absl::string_view(buffer.data(), count)));
    offset += static_cast<int64_t>(count);
  }
}

absl::Status TokenFileWriter::Commit(const TokenCounts& counts) {
  if (num_ids_ % 2 != 0) ids_buffer_.append(sizeof(int32_t), '\0');  // Aligns the index.
  RETURN_IF_ERROR(AppendHashed(ids_buffer_));
  Footer footer = {};
  footer.num_ids = static_cast<uint64_t>(num_ids_);
  footer.num_examples = static_cast<uint64_t>(num_examples_);
  footer.index_offset = static_cast<uint64_t>(file_.size_bytes());
  footer.counts = counts;
  footer.magic = kMagic;
  RETURN_IF_ERROR(CopyIndex());
  hash_.Update(BytesOf(footer).substr(0, kHashedFooterBytes));
  hash_.Hex().copy(footer.sha256, sizeof(footer.sha256));
  RETURN_IF_ERROR(file_.Append(BytesOf(footer)));
  return file_.Commit();
}

}  // namespace graft
