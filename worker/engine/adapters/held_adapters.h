#pragma once

#include <list>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "worker/engine/adapters/adapter_set.h"
#include "worker/engine/gpt2/model.h"

namespace graft {

// The adapters of one base model that texts used last, ready to compute with. One thread.
class HeldAdapters {
 public:
  // Those that a text is being made with do not count.
  static constexpr size_t kMaxHeld = 20;
  struct Adapter {
    std::unique_ptr<AdapterSet> set;
    Gpt2Network network;
  };

  // That of a directory, whose files must not change while it is held. Codes of AdapterSet::Load.
  absl::StatusOr<std::shared_ptr<const Adapter>> Get(const Gpt2Model& base,
                                                     const std::string& directory);
  // Before the base model goes, or is another one.
  void Clear() { held_.clear(); }
  size_t size() const { return held_.size(); }

 private:
  struct Entry {
    std::string directory;
    std::shared_ptr<const Adapter> adapter;
  };
  std::list<Entry> held_;  // The one that was used last first.
};

}  // namespace graft
