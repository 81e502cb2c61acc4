#include "common/text/bpe.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/base/mutex.h"
#include "common/base/status_macros.h"
#include "common/base/utf8.h"
#include "common/text/added_token_matcher.h"
#include "common/text/bpe_model.h"
#include "common/text/merge_table.h"
#include "common/text/pretokenizer.h"
#include "common/text/word_cache.h"

namespace graft {
namespace {

// What one call of Encode works with; nobody else sees it meanwhile.
struct Workspace {
  WordCache cache;
  MergeTable::Workspace merging;
  std::vector<int32_t> symbols;
};

// Workspaces that no call uses at the moment. There are never more than calls have run at the same
// time.
class WorkspacePool {
 public:
  std::unique_ptr<Workspace> Take() {
    {
      MutexLock lock(mutex_);
      if (!idle_.empty()) {
        std::unique_ptr<Workspace> workspace = std::move(idle_.back());
        idle_.pop_back();
        return workspace;
      }
    }
    return std::make_unique<Workspace>();
  }

  void Return(std::unique_ptr<Workspace> workspace) {
    // A word of megabytes makes a workspace of a hundred; that is not kept.
    if (workspace->symbols.capacity() > kKeptSymbols) return;
    MutexLock lock(mutex_);
    idle_.push_back(std::move(workspace));
  }

 private:
  static constexpr size_t kKeptSymbols = 1 << 16;

  Mutex mutex_;
  std::vector<std::unique_ptr<Workspace>> idle_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace

class BpeTokenizer::Impl {
 public:
  explicit Impl(BpeModel model)
      : merges_(model.merges), added_tokens_(model.added_tokens), is_special_(model.tokens.size()) {
    for (const AddedToken& token : model.added_tokens) is_special_[token.id] = token.special;
    byte_ids_ = model.byte_ids;
    end_of_text_id_ = model.end_of_text_id;
    tokens_ = std::move(model.tokens);
  }

  absl::Status EncodeTo(absl::string_view text, EncodeOptions options,
                        std::vector<int32_t>* ids) const;

  bool HasId(int32_t id) const { return id >= 0 && static_cast<size_t>(id) < tokens_.size(); }
  const std::string& token(int32_t id) const { return tokens_[id]; }
  bool is_special(int32_t id) const { return is_special_[id]; }
  int32_t vocab_size() const { return static_cast<int32_t>(tokens_.size()); }
  int32_t end_of_text_id() const { return end_of_text_id_; }

 private:
  absl::Status EncodePiece(absl::string_view piece, const char* text_begin, Workspace* workspace,
                           std::vector<int32_t>* ids) const;
  absl::Status EncodeWord(absl::string_view word, const char* text_begin,
                          Workspace* workspace) const;

  MergeTable merges_;
  AddedTokenMatcher added_tokens_;
  Gpt2PreTokenizer pre_tokenizer_;
  std::vector<bool> is_special_;
  std::array<int32_t, 256> byte_ids_;
  std::vector<std::string> tokens_;
  int32_t end_of_text_id_;
  mutable WorkspacePool pool_;
};

// Leaves the word's ids in workspace->symbols.
absl::Status BpeTokenizer::Impl::EncodeWord(absl::string_view word, const char* text_begin,
                                            Workspace* workspace) const {
  std::vector<int32_t>& symbols = workspace->symbols;
  symbols.clear();
  for (const char& c : word) {
    const int32_t id = byte_ids_[static_cast<unsigned char>(c)];
    if (id < 0) {
      return absl::InvalidArgumentError(
          absl::StrFormat("the vocabulary has no token for the byte 0x%02X at offset %d",
                          static_cast<unsigned char>(c), &c - text_begin));
    }
    symbols.push_back(id);
  }
  merges_.Apply(&symbols, &workspace->merging);
  return absl::OkStatus();
}

absl::Status BpeTokenizer::Impl::EncodePiece(absl::string_view piece, const char* text_begin,
                                             Workspace* workspace,
                                             std::vector<int32_t>* ids) const {
  const char* const end = piece.data() + piece.size();
  for (const char* begin = piece.data(); begin < end;) {
    const char* word_end = pre_tokenizer_.WordEnd(begin, end);
    const absl::string_view word(begin, word_end - begin);
    begin = word_end;
    if (word.size() > WordCache::kMaxWordBytes) {
      RETURN_IF_ERROR(EncodeWord(word, text_begin, workspace));
      ids->insert(ids->end(), workspace->symbols.begin(), workspace->symbols.end());
      continue;
    }
    const WordCache::Key key = WordCache::KeyOf(word, end);
    absl::Span<const int32_t> found = workspace->cache.Find(key);
    if (found.empty()) {
      RETURN_IF_ERROR(EncodeWord(word, text_begin, workspace));
      found = workspace->symbols;
      workspace->cache.Insert(key, found);
    }
    ids->insert(ids->end(), found.begin(), found.end());
  }
  return absl::OkStatus();
}

absl::Status BpeTokenizer::Impl::EncodeTo(absl::string_view text, EncodeOptions options,
                                          std::vector<int32_t>* ids) const {
  if (const size_t offset = FindInvalidUtf8(text); offset != absl::string_view::npos) {
    return absl::InvalidArgumentError(
        absl::StrFormat("the text is not UTF-8: wrong byte 0x%02X at offset %d",
                        static_cast<unsigned char>(text[offset]), offset));
  }
  std::vector<AddedTokenMatcher::Piece> pieces;
  added_tokens_.Split(text, options.parse_special_tokens, &pieces);
  const size_t size_before = ids->size();
  std::unique_ptr<Workspace> workspace = pool_.Take();
  absl::Status status;
  for (const AddedTokenMatcher::Piece& piece : pieces) {
    if (piece.id != AddedTokenMatcher::Piece::kText) {
      ids->push_back(piece.id);
    } else {
      status = EncodePiece(piece.text, text.data(), workspace.get(), ids);
      if (!status.ok()) break;
    }
  }
  pool_.Return(std::move(workspace));
  if (!status.ok()) ids->resize(size_before);
  return status;
}

BpeTokenizer::BpeTokenizer(std::unique_ptr<const Impl> impl) : impl_(std::move(impl)) {}
BpeTokenizer::BpeTokenizer(BpeTokenizer&&) noexcept = default;
BpeTokenizer& BpeTokenizer::operator=(BpeTokenizer&&) noexcept = default;
BpeTokenizer::~BpeTokenizer() = default;

absl::StatusOr<BpeTokenizer> BpeTokenizer::Load(const std::string& folder) {
  ASSIGN_OR_RETURN(BpeModel model, ReadBpeModel(folder));
  return BpeTokenizer(std::make_unique<const Impl>(std::move(model)));
}

absl::StatusOr<std::vector<int32_t>> BpeTokenizer::Encode(absl::string_view text,
                                                          EncodeOptions options) const {
  std::vector<int32_t> ids;
  RETURN_IF_ERROR(impl_->EncodeTo(text, options, &ids));
  return ids;
}

absl::Status BpeTokenizer::EncodeTo(absl::string_view text, EncodeOptions options,
                                    std::vector<int32_t>* ids) const {
  return impl_->EncodeTo(text, options, ids);
}

std::string BpeTokenizer::Decode(absl::Span<const int32_t> ids) const {
  std::string bytes;
  for (const int32_t id : ids) absl::StrAppend(&bytes, TokenBytes(id));
  return bytes;
}

std::string BpeTokenizer::DecodeWithoutSpecial(absl::Span<const int32_t> ids) const {
  std::string bytes;
  for (const int32_t id : ids) {
    if (!IsSpecial(id)) absl::StrAppend(&bytes, TokenBytes(id));
  }
  return bytes;
}

absl::string_view BpeTokenizer::TokenBytes(int32_t id) const {
  return impl_->HasId(id) ? absl::string_view(impl_->token(id)) : absl::string_view();
}

bool BpeTokenizer::IsSpecial(int32_t id) const { return impl_->HasId(id) && impl_->is_special(id); }

int32_t BpeTokenizer::vocab_size() const { return impl_->vocab_size(); }
int32_t BpeTokenizer::end_of_text_id() const { return impl_->end_of_text_id(); }

std::string StreamDecoder::Push(int32_t id) {
  absl::StrAppend(&pending_, tokenizer_.TokenBytes(id));
  // Only the last character can be incomplete; what stands before it can be given out.
  size_t complete = 0;
  while (complete < pending_.size()) {
    const Utf8Prefix prefix = ReadUtf8Prefix(absl::string_view(pending_).substr(complete));
    if (prefix.kind == Utf8Prefix::kIncomplete) break;
    complete += prefix.size;
  }
  std::string text = ToValidUtf8(absl::string_view(pending_).substr(0, complete));
  pending_.erase(0, complete);
  return text;
}

std::string StreamDecoder::Finish() { return ToValidUtf8(std::exchange(pending_, std::string())); }

}  // namespace graft
