#pragma once

// Files as messages name them, and as manifests do.

#include <vector>

#include "common/formats/manifest.h"
#include "graft/v1/job.pb.h"

namespace graft {

// Of any range of artifacts.
template <typename Artifacts>
std::vector<ManifestFile> ToManifest(const Artifacts& artifacts) {
  std::vector<ManifestFile> files;
  files.reserve(artifacts.size());
  for (const v1::Artifact& artifact : artifacts) {
    files.push_back({artifact.path(), artifact.size_bytes(), artifact.sha256()});
  }
  return files;
}

inline v1::Artifact ToArtifact(const ManifestFile& file) {
  v1::Artifact artifact;
  artifact.set_path(file.path);
  artifact.set_size_bytes(file.size_bytes);
  artifact.set_sha256(file.sha256);
  return artifact;
}

}  // namespace graft
