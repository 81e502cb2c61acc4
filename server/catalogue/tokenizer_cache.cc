#include "server/catalogue/tokenizer_cache.h"

#include "common/base/status_macros.h"

namespace graft {

std::shared_ptr<const BpeTokenizer> TokenizerCache::Find(const std::string& sha256) {
  MutexLock lock(mutex_);
  for (auto it = entries_.begin(); it != entries_.end(); ++it) {
    if (it->first != sha256) continue;
    entries_.splice(entries_.begin(), entries_, it);
    return entries_.front().second;
  }
  return nullptr;
}

absl::StatusOr<std::shared_ptr<const BpeTokenizer>> TokenizerCache::Get(const v1::Model& model) {
  if (auto cached = Find(model.sha256())) return cached;
  ASSIGN_OR_RETURN(const std::string folder, publisher_.DirectoryOf(model));
  ASSIGN_OR_RETURN(BpeTokenizer loaded, BpeTokenizer::Load(folder));
  auto tokenizer = std::make_shared<const BpeTokenizer>(std::move(loaded));
  MutexLock lock(mutex_);
  entries_.emplace_front(model.sha256(), tokenizer);
  if (entries_.size() > kMaxCachedTokenizers) entries_.pop_back();
  return tokenizer;
}

}  // namespace graft
