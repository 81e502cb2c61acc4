#include "server/catalogue/study_files.h"

#include "common/base/status_macros.h"
#include "common/jobs/artifacts.h"
#include "common/studies/study_table.h"

namespace graft {

absl::StatusOr<std::vector<v1::Artifact>> MakeStudyFiles(BlobStore& blobs, const v1::Study& study) {
  ASSIGN_OR_RETURN(const BlobInfo table, blobs.Put(StudyTable(study)));
  return std::vector<v1::Artifact>{ToArtifact({"study.csv", table.size_bytes, table.sha256})};
}

}  // namespace graft
