#pragma once

#include <list>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "common/base/mutex.h"
#include "common/text/bpe.h"
#include "graft/v1/model.pb.h"
#include "server/catalogue/publisher.h"

namespace graft {

// Tokenizers of base models that are held in memory at the most, a few MB each.
inline constexpr size_t kMaxCachedTokenizers = 4;

// The tokenizers that previews use, by the models' hashes. Thread-safe; blocks on the disk for one
// that is not here.
class TokenizerCache {
 public:
  explicit TokenizerCache(Publisher& publisher) : publisher_(publisher) {}
  // The codes of BpeTokenizer::Load.
  absl::StatusOr<std::shared_ptr<const BpeTokenizer>> Get(const v1::Model& model);

 private:
  using Entry = std::pair<std::string, std::shared_ptr<const BpeTokenizer>>;

  std::shared_ptr<const BpeTokenizer> Find(const std::string& sha256);

  Publisher& publisher_;
  Mutex mutex_;
  std::list<Entry> entries_ ABSL_GUARDED_BY(mutex_);  // Most recently used first.
};

}  // namespace graft
