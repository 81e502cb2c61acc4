#pragma once

#include "common/blobs/file_blob_store.h"
#include "server/catalogue/partial_uploads.h"
#include "server/catalogue/publisher.h"
#include "server/catalogue/tokenizer_cache.h"
#include "server/store/job_store.h"

namespace graft {

// Where data sets, models and adapters are kept: what is said of them, their bytes, and the folders
// that show them. Everything outlives its users.
struct Catalogue {
  JobStore& store;
  FileBlobStore& blobs;
  Publisher& publisher;
  TokenizerCache& tokenizers;
  PartialUploads& partials;
};

}  // namespace graft
