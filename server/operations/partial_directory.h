#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/base/unique_fd.h"

namespace graft {

// A directory that appears whole or not at all: it is filled as TARGET.partial, beside its place,
// and renamed. Destroyed before, it is removed; one that a killed process left is emptied by the
// next that is to become the same. One thread at a time.
class PartialDirectory {
 public:
  // Makes the directories above, too. ALREADY_EXISTS: the target holds something; INVALID_ARGUMENT:
  // it cannot be renamed to (a file, a mount point); FAILED_PRECONDITION: another process fills it,
  // or TARGET.partial is something else. Codes of common/base/file.h.
  static absl::StatusOr<PartialDirectory> Create(std::string target);
  PartialDirectory(PartialDirectory&&) noexcept = default;
  PartialDirectory& operator=(PartialDirectory&&) = delete;
  ~PartialDirectory();

  const std::string& path() const { return path_; }
  // Gives it its name, synced; what is in it is synced already.
  absl::Status Finish();

 private:
  PartialDirectory(std::string target, std::string path, UniqueFd lock)
      : target_(std::move(target)), path_(std::move(path)), lock_(std::move(lock)) {}

  std::string target_;
  std::string path_;
  UniqueFd lock_;  // The directory itself, locked; invalid: finished.
};

}  // namespace graft
