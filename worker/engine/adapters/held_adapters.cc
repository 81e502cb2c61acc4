#include "worker/engine/adapters/held_adapters.h"

#include <algorithm>
#include <utility>

#include "common/base/status_macros.h"

namespace graft {

absl::StatusOr<std::shared_ptr<const HeldAdapters::Adapter>> HeldAdapters::Get(
    const Gpt2Model& base, const std::string& directory) {
  const auto found = std::find_if(held_.begin(), held_.end(),
                                  [&](const Entry& entry) { return entry.directory == directory; });
  if (found != held_.end()) {
    held_.splice(held_.begin(), held_, found);
    return found->adapter;
  }
  // First, so that there are never more.
  while (held_.size() >= kMaxHeld) held_.pop_back();
  ASSIGN_OR_RETURN(std::unique_ptr<AdapterSet> set, AdapterSet::Load(base, directory));
  auto adapter = std::make_shared<Adapter>();
  adapter->network = set->Bind();
  adapter->set = std::move(set);
  held_.push_front({directory, std::move(adapter)});
  return held_.front().adapter;
}

}  // namespace graft
