// ImportModelFolders of imports.h.

#include <fcntl.h>
#include <sys/stat.h>

#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "common/formats/model_folder.h"
#include "common/jobs/names.h"
#include "common/telemetry/log.h"
#include "server/catalogue/imports.h"
#include "server/catalogue/model_description.h"

namespace graft {
namespace {

constexpr int64_t kMaxCacheBytes = 16 << 20;
constexpr int64_t kCopyBytes = 1 << 20;

// Sizes and times of a folder's files: equal ones make reading it again needless.
std::string FingerprintOf(const std::string& folder) {
  std::string fingerprint;
  const auto names = ListDirectory(folder);
  if (!names.ok()) return "";
  for (const std::string& name : *names) {
    struct stat info;
    if (::stat(JoinPath(folder, name).c_str(), &info) != 0) continue;
    absl::StrAppend(&fingerprint, name, " ", info.st_size, " ", info.st_mtim.tv_sec, ".",
                    info.st_mtim.tv_nsec, "\n");
  }
  return fingerprint;
}

absl::Status CopyToBlob(const std::string& path, const ManifestFile& file, BlobStore& blobs) {
  if (blobs.Keep(file.sha256).ok() && blobs.Verify(file.sha256).ok()) return absl::OkStatus();
  BlobExpectation expected;
  expected.size_bytes = file.size_bytes;
  expected.sha256 = file.sha256;
  ASSIGN_OR_RETURN(const std::unique_ptr<BlobWriter> writer, blobs.NewWriter(expected));
  ASSIGN_OR_RETURN(const UniqueFd fd, OpenFile(path, O_RDONLY));
  std::string buffer(kCopyBytes, '\0');
  int64_t offset = 0;
  while (true) {
    ASSIGN_OR_RETURN(const size_t count,
                     ReadAt(fd.get(), offset, absl::MakeSpan(&buffer[0], buffer.size()), path));
    if (count == 0) break;
    RETURN_IF_ERROR(writer->Append(absl::string_view(buffer.data(), count)));
    offset += static_cast<int64_t>(count);
  }
  return writer->Commit().status();
}

// `read_before`: hash of the model that was read from this folder at an earlier start; or empty.
absl::StatusOr<v1::Model> ImportFolder(JobStore& store, FileBlobStore& blobs,
                                       const std::string& folder, const std::string& name,
                                       const std::string& read_before) {
  RETURN_IF_ERROR(ValidateName(name, "name"));
  ASSIGN_OR_RETURN(const ModelManifest manifest, MakeModelManifest(folder));
  ASSIGN_OR_RETURN(v1::Model model, DescribeModel(folder, manifest.files));
  model.set_name(name);
  for (const ManifestFile& file : manifest.files) {
    RETURN_IF_ERROR(CopyToBlob(JoinPath(folder, file.path), file, blobs));
  }
  const absl::StatusOr<v1::Model> known = store.GetModel(name);
  if (!known.ok() || known->sha256() == model.sha256()) return store.InsertModel(model);
  if (known->sha256() != read_before) {
    return absl::AlreadyExistsError(
        absl::StrCat("the model ", name,
                     " is known with other content, which was not read from this folder; delete "
                     "that model or rename the folder"));
  }
  absl::StatusOr<v1::Model> replaced = store.ReplaceModel(read_before, model);
  if (!replaced.ok()) return Annotate(replaced.status(), "the folder has changed");
  return replaced;
}

// What models.json says of a folder: its fingerprint and the hash of its model, empty when nothing.
std::pair<std::string, std::string> ReadBefore(const nlohmann::json& cache,
                                               const std::string& folder) {
  const auto found = cache.find(folder);
  if (found == cache.end() || !found->is_array() || found->size() != 2 ||
      !(*found)[0].is_string() || !(*found)[1].is_string()) {
    return {};
  }
  return {(*found)[0], (*found)[1]};
}

}  // namespace

void ImportModelFolders(JobStore& store, FileBlobStore& blobs, const std::string& directory,
                        const std::string& cache_file) {
  const auto names = ListDirectory(directory);
  if (!names.ok()) {
    Log(LogLevel::kError, "cannot read --models", {{"error", names.status().ToString()}});
    return;
  }
  nlohmann::json cache = nlohmann::json::object();
  if (const auto text = ReadFile(cache_file, kMaxCacheBytes); text.ok()) {
    cache = nlohmann::json::parse(*text, nullptr, /*allow_exceptions=*/false);
  }
  if (!cache.is_object()) cache = nlohmann::json::object();
  for (const std::string& name : *names) {
    const std::string folder = JoinPath(directory, name);
    if (!FileExists(JoinPath(folder, "config.json"))) continue;
    const std::string fingerprint = FingerprintOf(folder);
    const auto known = store.GetModel(name);
    const auto [fingerprint_before, sha256_before] = ReadBefore(cache, folder);
    if (known.ok() && fingerprint_before == fingerprint && sha256_before == known->sha256()) {
      continue;
    }
    const absl::StatusOr<v1::Model> model = ImportFolder(store, blobs, folder, name, sha256_before);
    if (!model.ok()) {
      Log(LogLevel::kError, "model folder left out",
          {{"folder", folder}, {"error", model.status().ToString()}});
      continue;
    }
    cache[folder] = {fingerprint, model->sha256()};
    Log(LogLevel::kInfo, "model known", {{"model", name}, {"sha256", model->sha256()}});
  }
  const absl::Status written = WriteFileAtomically(cache_file, cache.dump());
  if (!written.ok()) {
    Log(LogLevel::kWarning, "cannot write", {{"error", written.ToString()}});
  }
}

}  // namespace graft
