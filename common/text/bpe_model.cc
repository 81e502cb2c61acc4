#include "common/text/bpe_model.h"

#include <algorithm>
#include <unordered_map>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "common/text/byte_alphabet.h"
#include "common/text/tokenizer_json.h"

namespace graft {
namespace {

using Json = nlohmann::json;

// Collects what the files hold. Ids are found by the token's spelling in the files (the byte
// alphabet, not the bytes).
class Builder {
 public:
  absl::Status AddVocabulary(const Json& vocabulary);
  absl::Status AddMerge(absl::string_view left, absl::string_view right);
  absl::Status AddToken(AddedToken token);
  absl::StatusOr<BpeModel> Build(const std::string& end_of_text) &&;

 private:
  void SetBytes(int32_t id, std::string bytes);
  absl::StatusOr<int32_t> IdOf(const std::string& spelling) const;

  BpeModel model_;
  std::unordered_map<std::string, int32_t> id_of_;
  std::vector<bool> taken_;
};

void Builder::SetBytes(int32_t id, std::string bytes) {
  if (static_cast<size_t>(id) >= taken_.size()) {
    taken_.resize(id + 1);
    model_.tokens.resize(id + 1);
  }
  taken_[id] = true;
  model_.tokens[id] = std::move(bytes);
}

absl::Status Builder::AddVocabulary(const Json& vocabulary) {
  if (!vocabulary.is_object()) {
    return absl::InvalidArgumentError("must be an object that gives each token its id");
  }
  for (const auto& [spelling, value] : vocabulary.items()) {
    absl::StatusOr<int32_t> id = ReadTokenId(value);
    if (!id.ok()) return Annotate(id.status(), absl::StrCat("token \"", spelling, "\""));
    if (static_cast<size_t>(*id) < taken_.size() && taken_[*id]) {
      return absl::InvalidArgumentError(
          absl::StrCat("token \"", spelling, "\" has the id ", *id, ", which another token has"));
    }
    SetBytes(*id, BytesOfSpelling(spelling));
    id_of_.emplace(spelling, *id);
  }
  if (id_of_.empty()) return absl::InvalidArgumentError("the vocabulary is empty");
  for (int byte = 0; byte < 256; ++byte) {
    const auto found = id_of_.find(SpellingOfByte(byte));
    model_.byte_ids[byte] = found == id_of_.end() ? -1 : found->second;
  }
  return absl::OkStatus();
}

absl::StatusOr<int32_t> Builder::IdOf(const std::string& spelling) const {
  const auto found = id_of_.find(spelling);
  if (found != id_of_.end()) return found->second;
  return absl::InvalidArgumentError(absl::StrCat("\"", spelling, "\" is not in the vocabulary"));
}

absl::Status Builder::AddMerge(absl::string_view left, absl::string_view right) {
  BpeMerge merge;
  ASSIGN_OR_RETURN(merge.left, IdOf(std::string(left)));
  ASSIGN_OR_RETURN(merge.right, IdOf(std::string(right)));
  ASSIGN_OR_RETURN(merge.result, IdOf(absl::StrCat(left, right)));
  model_.merges.push_back(merge);
  return absl::OkStatus();
}

absl::Status Builder::AddToken(AddedToken token) {
  if (token.content.empty()) return absl::InvalidArgumentError("an added token is empty");
  const auto known = id_of_.find(token.content);
  if (known != id_of_.end() && known->second != token.id) {
    return absl::InvalidArgumentError(absl::StrCat("added token \"", token.content,
                                                   "\" has the id ", token.id, ", but ",
                                                   known->second, " in the vocabulary"));
  }
  if (known == id_of_.end() && static_cast<size_t>(token.id) < taken_.size() && taken_[token.id]) {
    return absl::InvalidArgumentError(absl::StrCat(
        "added token \"", token.content, "\" has the id ", token.id, ", which another token has"));
  }
  SetBytes(token.id, token.content);
  id_of_.emplace(token.content, token.id);
  const auto same = std::find_if(model_.added_tokens.begin(), model_.added_tokens.end(),
                                 [&](const AddedToken& other) { return other.id == token.id; });
  if (same != model_.added_tokens.end()) {
    *same = std::move(token);
  } else {
    model_.added_tokens.push_back(std::move(token));
  }
  return absl::OkStatus();
}

absl::StatusOr<BpeModel> Builder::Build(const std::string& end_of_text) && {
  const auto end = id_of_.find(end_of_text);
  if (end == id_of_.end()) {
    return absl::InvalidArgumentError(
        absl::StrCat("no token \"", end_of_text, "\", which must end each text"));
  }
  model_.end_of_text_id = end->second;
  return std::move(model_);
}

// The spelling of the end-of-text token: GPT-2's own name if the vocabulary has it, else what the
// settings call eos_token.
std::string EndOfText(const TokenizerSettings& settings, const Json& vocabulary) {
  if (settings.eos_token.empty() || vocabulary.contains(kEndOfText)) return kEndOfText;
  return settings.eos_token;
}

absl::Status AddMergesFromText(absl::string_view text, Builder* builder) {
  int line_number = 0;
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    ++line_number;
    absl::ConsumeSuffix(&line, "\r");
    if (line.empty() || absl::StartsWith(line, "#version")) continue;
    const std::vector<absl::string_view> parts = absl::StrSplit(line, ' ');
    const absl::Status status =
        parts.size() == 2 ? builder->AddMerge(parts[0], parts[1])
                          : absl::InvalidArgumentError("must be two tokens with a space between");
    if (!status.ok()) return Annotate(status, absl::StrCat("line ", line_number));
  }
  return absl::OkStatus();
}

absl::Status AddMergesFromJson(const Json& merges, Builder* builder) {
  if (!merges.is_array()) return absl::InvalidArgumentError("must be a list");
  for (size_t i = 0; i < merges.size(); ++i) {
    absl::StatusOr<std::pair<std::string, std::string>> pair = ReadMerge(merges[i]);
    const absl::Status status =
        pair.ok() ? builder->AddMerge(pair->first, pair->second) : pair.status();
    if (!status.ok()) return Annotate(status, absl::StrCat("[", i, "]"));
  }
  return absl::OkStatus();
}

absl::StatusOr<BpeModel> ModelFromTokenizerJson(const Json& file,
                                                const TokenizerSettings& settings) {
  RETURN_IF_ERROR(CheckIsGpt2Tokenizer(file));
  const Json& model = file["model"];
  Builder builder;
  RETURN_IF_ERROR(Annotate(builder.AddVocabulary(model["vocab"]), "model.vocab"));
  RETURN_IF_ERROR(Annotate(AddMergesFromJson(model["merges"], &builder), "model.merges"));
  ASSIGN_OR_RETURN(std::vector<AddedToken> added, ReadAddedTokenList(file));
  bool has_end_of_text = model["vocab"].contains(kEndOfText);
  for (AddedToken& token : added) {
    has_end_of_text = has_end_of_text || token.content == kEndOfText;
    RETURN_IF_ERROR(Annotate(builder.AddToken(std::move(token)), "added_tokens"));
  }
  return std::move(builder).Build(
      has_end_of_text || settings.eos_token.empty() ? kEndOfText : settings.eos_token);
}

absl::StatusOr<BpeModel> ModelFromVocabAndMerges(const std::string& folder,
                                                 const TokenizerSettings& settings) {
  Builder builder;
  ASSIGN_OR_RETURN(const Json vocabulary, ReadJsonFile(JoinPath(folder, "vocab.json")));
  RETURN_IF_ERROR(Annotate(builder.AddVocabulary(vocabulary), "vocab.json"));
  ASSIGN_OR_RETURN(const std::string merges,
                   ReadFile(JoinPath(folder, "merges.txt"), kMaxTokenizerFileBytes));
  RETURN_IF_ERROR(Annotate(AddMergesFromText(merges, &builder), "merges.txt"));
  const std::string end_of_text = EndOfText(settings, vocabulary);
  if (vocabulary.contains(end_of_text)) {
    AddedToken token;
    token.id = vocabulary[end_of_text].get<int32_t>();
    token.content = end_of_text;
    token.special = true;
    RETURN_IF_ERROR(builder.AddToken(std::move(token)));
  }
  for (AddedToken token : settings.added_tokens) {
    RETURN_IF_ERROR(Annotate(builder.AddToken(std::move(token)), "added tokens"));
  }
  return std::move(builder).Build(end_of_text);
}

}  // namespace

absl::StatusOr<BpeModel> ReadBpeModel(const std::string& folder) {
  ASSIGN_OR_RETURN(const TokenizerSettings settings, ReadTokenizerSettings(folder));
  if (FileExists(JoinPath(folder, "tokenizer.json"))) {
    ASSIGN_OR_RETURN(const Json file, ReadJsonFile(JoinPath(folder, "tokenizer.json")));
    absl::StatusOr<BpeModel> model = ModelFromTokenizerJson(file, settings);
    if (!model.ok()) return Annotate(model.status(), "tokenizer.json");
    return model;
  }
  if (!FileExists(JoinPath(folder, "vocab.json")) || !FileExists(JoinPath(folder, "merges.txt"))) {
    return absl::NotFoundError(
        "there is no tokenizer: neither tokenizer.json nor vocab.json with merges.txt");
  }
  return ModelFromVocabAndMerges(folder, settings);
}

}  // namespace graft
