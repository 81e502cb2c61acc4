#pragma once

// What a power loss leaves of what a DiskLog recorded. Promised is what was synced: the bytes of a
// file by its own sync, its name by that of the directory. Of the rest each change is there, is
// not, or (a write) is there in some of its sectors, in whatever order the changes were made; a
// file that grew may hold there what was on the disk before.

#include <algorithm>
#include <cstdint>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "tests/fakes/disk_log.h"

namespace graft {

inline constexpr int64_t kSectorBytes = 512;

class PowerLoss {
 public:
  // The log must stay, and grow no more.
  explicit PowerLoss(const DiskLog& log) : log_(log), nodes_(log.nodes().size()) {}

  // How many of the log's changes the power loss comes after.
  size_t position() const { return position_; }
  void Advance() {
    const DiskChange& change = log_.changes()[position_++];
    if (change.kind == DiskChange::Kind::kSync) {
      Node& node = nodes_[change.node];
      for (const DiskChange* each : node.pending) Apply(*each, change.node, node);
      node.pending.clear();
    } else if (change.kind == DiskChange::Kind::kNames) {
      std::vector<int> told;
      for (const NameChange& name : change.names) {
        if (std::find(told.begin(), told.end(), name.directory) != told.end()) continue;
        nodes_[name.directory].pending.push_back(&change);
        told.push_back(name.directory);
      }
    } else {
      nodes_[change.node].pending.push_back(&change);
    }
  }

  // Makes the new directory `path` what one power loss leaves here, another one for each seed.
  void Leave(const std::string& path, uint64_t seed) const {
    Image image = {std::mt19937_64(seed * 1'000'003 + position_)};
    image.style = static_cast<Style>(image.random() % 4);
    LeaveNode(0, path, image);
  }

 private:
  struct Node {
    std::string bytes;                 // Synced.
    std::map<std::string, int> names;  // Synced, of a directory.
    std::vector<const DiskChange*> pending;
  };
  enum class Style { kNothingMore, kAll, kSome, kSomeTorn };
  struct Image {
    std::mt19937_64 random;
    Style style = Style::kSome;
    std::map<int, std::string> made;  // Where nodes are.

    bool Coin() { return (random() & 1) != 0; }
    bool Keeps() { return style == Style::kAll || (style != Style::kNothingMore && Coin()); }
  };

  static void Apply(const DiskChange& change, int node, Node& state) {
    if (change.kind == DiskChange::Kind::kWrite) {
      Put(change, 0, static_cast<int64_t>(change.bytes.size()), '\0', state.bytes);
    } else if (change.kind == DiskChange::Kind::kTruncate) {
      state.bytes.resize(change.offset);
    } else {
      for (const NameChange& name : change.names) {
        if (name.directory != node) continue;
        if (name.node == kNoNode) {
          state.names.erase(name.name);
        } else {
          state.names[name.name] = name.node;
        }
      }
    }
  }
  // Bytes [begin, end) of a write. What it leaves between the old end and itself is `fill`.
  static void Put(const DiskChange& write, int64_t begin, int64_t end, char fill,
                  std::string& bytes) {
    if (static_cast<int64_t>(bytes.size()) < write.offset + end) {
      bytes.resize(write.offset + end, fill);
    }
    bytes.replace(write.offset + begin, end - begin, write.bytes, begin, end - begin);
  }
  static void PutSomeSectors(const DiskChange& write, char fill, Image& image, std::string& bytes) {
    const auto size = static_cast<int64_t>(write.bytes.size());
    for (int64_t begin = 0; begin < size;) {
      const int64_t next = (write.offset + begin) / kSectorBytes * kSectorBytes + kSectorBytes;
      const int64_t end = std::min(size, next - write.offset);
      if (image.Coin()) Put(write, begin, end, fill, bytes);
      begin = end;
    }
  }

  Node After(int number, Image& image) const {
    Node node = nodes_[number];
    const char fill = image.Coin() ? '\0' : static_cast<char>(image.random());
    for (const DiskChange* change : node.pending) {
      const bool torn = change->kind == DiskChange::Kind::kWrite &&
                        image.style == Style::kSomeTorn && image.Coin();
      if (torn) {
        PutSomeSectors(*change, fill, image, node.bytes);
      } else if (image.Keeps()) {
        Apply(*change, number, node);
      }
    }
    return node;
  }
  void LeaveNode(int number, const std::string& path, Image& image) const {
    const DiskNode& kind = log_.nodes()[number];
    const auto made = image.made.emplace(number, path);
    if (!made.second) {
      // A directory has one name; a file system's own repair gives the other to lost+found.
      if (kind.kind != DiskNode::Kind::kDirectory) {
        ASSERT_EQ(::link(made.first->second.c_str(), path.c_str()), 0);
      }
      return;
    }
    if (kind.kind == DiskNode::Kind::kSymlink) {
      ASSERT_EQ(::symlink(kind.target.c_str(), path.c_str()), 0);
      return;
    }
    const Node node = After(number, image);
    if (kind.kind == DiskNode::Kind::kDirectory) {
      ASSERT_EQ(::mkdir(path.c_str(), 0700), 0) << path;
      for (const auto& [name, other] : node.names) LeaveNode(other, JoinPath(path, name), image);
      return;
    }
    const absl::StatusOr<UniqueFd> file = OpenFile(path, O_WRONLY | O_CREAT | O_EXCL);
    ASSERT_TRUE(file.ok()) << file.status();
    ASSERT_TRUE(WriteAll(file->get(), node.bytes, path).ok());
  }

  const DiskLog& log_;
  std::vector<Node> nodes_;
  size_t position_ = 0;
};

}  // namespace graft
