#include "server/operations/backup_manifest.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "common/base/file.h"
#include "common/base/sha256.h"
#include "common/base/status_macros.h"

namespace graft {
namespace {

constexpr char kBackupFile[] = "BACKUP";
constexpr char kSumsFile[] = "SHA256SUMS";
constexpr int kFormat = 1;
constexpr int64_t kMaxBackupBytes = int64_t{64} << 20;  // With a million missing blobs.
constexpr int64_t kMaxSumsBytes = int64_t{4} << 30;
constexpr size_t kSumLineStart = kSha256HexLength + 2;  // The hash and two spaces.

nlohmann::json ToJson(const BackupManifest& manifest) {
  return {{"graft_backup", kFormat},        {"store", manifest.store_id},
          {"time", manifest.time},          {"version", manifest.version},
          {"schema", manifest.schema},      {"jobs", manifest.jobs},
          {"blobs", manifest.blobs},        {"blob_bytes", manifest.blob_bytes},
          {"files", manifest.files.size()}, {"missing_blobs", manifest.missing_blobs}};
}

absl::Status Changed(const std::string& directory, absl::string_view what) {
  return absl::DataLossError(absl::StrCat("the backup ", directory, " was changed: ", what,
                                          "; it is not restored. Use another one"));
}

bool IsSafePath(absl::string_view path) {
  const std::vector<absl::string_view> names = absl::StrSplit(path, '/');
  return std::all_of(names.begin(), names.end(), IsSafeFileName);
}

// By path.
absl::StatusOr<std::map<std::string, std::string>> ReadSums(const std::string& directory) {
  ASSIGN_OR_RETURN(const std::string text, ReadFile(JoinPath(directory, kSumsFile), kMaxSumsBytes));
  std::map<std::string, std::string> sums;
  for (const absl::string_view line : absl::StrSplit(text, '\n', absl::SkipEmpty())) {
    const std::string path(line.substr(std::min(kSumLineStart, line.size())));
    const absl::string_view hash = line.substr(0, kSha256HexLength);
    if (!IsSha256Hex(hash) || !IsSafePath(path) || line.substr(kSha256HexLength, 2) != "  " ||
        !sums.emplace(path, hash).second) {
      return Changed(directory, absl::StrCat("a line of ", kSumsFile, " is none"));
    }
  }
  return sums;
}

absl::StatusOr<BackupManifest> Parse(const std::string& directory, const std::string& text,
                                     int64_t files) {
  const nlohmann::json json = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  BackupManifest manifest;
  try {
    if (json.at("graft_backup").get<int>() > kFormat) {
      return absl::FailedPreconditionError(
          absl::StrCat("the backup ", directory, " was made by the newer graft ",
                       json.at("version").get<std::string>(), "; restore it with that"));
    }
    if (json.at("files").get<int64_t>() != files) {
      return Changed(directory, absl::StrCat(kSumsFile, " has not all of its files"));
    }
    json.at("store").get_to(manifest.store_id);
    json.at("time").get_to(manifest.time);
    json.at("version").get_to(manifest.version);
    json.at("schema").get_to(manifest.schema);
    json.at("jobs").get_to(manifest.jobs);
    json.at("blobs").get_to(manifest.blobs);
    json.at("blob_bytes").get_to(manifest.blob_bytes);
    json.at("missing_blobs").get_to(manifest.missing_blobs);
  } catch (const nlohmann::json::exception& error) {
    return Changed(directory, absl::StrCat(kBackupFile, ": ", error.what()));
  }
  return manifest;
}

}  // namespace

std::string BackupPathOfBlob(const std::string& sha256) {
  return absl::StrCat("artifacts/blobs/objects/", sha256.substr(0, 2), "/", sha256);
}

absl::Status WriteBackupManifest(const std::string& directory, const BackupManifest& manifest) {
  const std::string backup = ToJson(manifest).dump(1) + "\n";
  std::string sums;
  for (const BackupFile& file : manifest.files) {
    absl::StrAppend(&sums, file.sha256, "  ", file.path, "\n");
  }
  absl::StrAppend(&sums, Sha256Hex(backup), "  ", kBackupFile, "\n");
  RETURN_IF_ERROR(WriteFileAtomically(JoinPath(directory, kSumsFile), sums));
  return WriteFileAtomically(JoinPath(directory, kBackupFile), backup);
}

absl::StatusOr<BackupManifest> ReadBackupManifest(const std::string& directory) {
  const absl::StatusOr<std::string> backup =
      ReadFile(JoinPath(directory, kBackupFile), kMaxBackupBytes);
  if (absl::IsNotFound(backup.status())) {
    return absl::NotFoundError(absl::StrCat(
        directory, " is no whole backup: it has no file ", kBackupFile,
        ", which is written last. Name a directory that \"graft-server backup --to\" made"));
  }
  RETURN_IF_ERROR(backup.status());
  absl::StatusOr<std::map<std::string, std::string>> sums = ReadSums(directory);
  if (absl::IsNotFound(sums.status())) {
    return Changed(directory, absl::StrCat(kSumsFile, " is not there"));
  }
  RETURN_IF_ERROR(sums.status());
  const auto own = sums->find(kBackupFile);
  if (own == sums->end() || own->second != Sha256Hex(*backup)) {
    return Changed(directory, absl::StrCat(kBackupFile, " and ", kSumsFile, " disagree"));
  }
  sums->erase(own);
  ASSIGN_OR_RETURN(BackupManifest manifest,
                   Parse(directory, *backup, static_cast<int64_t>(sums->size())));
  for (auto& [path, sha256] : *sums) manifest.files.push_back({path, sha256});
  return manifest;
}

}  // namespace graft
