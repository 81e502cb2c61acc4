#include "common/text/tokenizer_json.h"

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/base/file.h"
#include "common/base/json.h"
#include "common/base/status_macros.h"

namespace graft {
namespace {

using Json = nlohmann::json;

// Member `name` of `object`; null if it is not there, or if `object` is none.
const Json& Member(const Json& object, const char* name) {
  static const Json null;
  if (!object.is_object()) return null;
  const auto found = object.find(name);
  return found == object.end() ? null : *found;
}

std::string Show(const Json& value) {
  const std::string text = value.dump(-1, ' ', true, Json::error_handler_t::replace);
  return text.size() <= 80 ? text : text.substr(0, 77) + "...";
}

absl::Status Refuse(absl::string_view field, const Json& value, absl::string_view expected) {
  return absl::InvalidArgumentError(
      absl::StrCat(field, " is ", Show(value), ", which is not supported; GPT-2's is ", expected));
}

// A flag that may be absent or null.
absl::StatusOr<bool> Flag(const Json& object, const char* name, bool otherwise) {
  const Json& value = Member(object, name);
  if (value.is_null()) return otherwise;
  if (value.is_boolean()) return value.get<bool>();
  return absl::InvalidArgumentError(
      absl::StrCat(name, " must be true or false, not ", Show(value)));
}

// Null, or {"type": "ByteLevel", …}.
absl::Status CheckByteLevelOrNull(const Json& file, const char* name) {
  const Json& value = Member(file, name);
  if (value.is_null() || Member(value, "type") == "ByteLevel") return absl::OkStatus();
  return Refuse(name, value, "null or of type \"ByteLevel\"");
}

// As above, or a template for one text that adds no token to it: transformers 5 writes that.
// (Whatever it does to pairs of texts does not matter.)
absl::Status CheckPostProcessor(const Json& file) {
  const Json& value = Member(file, "post_processor");
  if (Member(value, "type") != "TemplateProcessing") {
    return CheckByteLevelOrNull(file, "post_processor");
  }
  const Json& single = Member(value, "single");
  const bool adds_nothing =
      single.is_array() && single.size() == 1 && Member(Member(single[0], "Sequence"), "id") == "A";
  if (adds_nothing) return absl::OkStatus();
  return Refuse("post_processor.single", single, "the text alone, without tokens around it");
}

absl::Status CheckPreTokenizer(const Json& pre_tokenizer) {
  const Json& type = Member(pre_tokenizer, "type");
  if (type != "ByteLevel") {
    return Refuse("pre_tokenizer", pre_tokenizer, "of type \"ByteLevel\"");
  }
  if (Member(pre_tokenizer, "add_prefix_space") != false) {
    return Refuse("pre_tokenizer.add_prefix_space", Member(pre_tokenizer, "add_prefix_space"),
                  "false");
  }
  const Json& use_regex = Member(pre_tokenizer, "use_regex");
  if (!use_regex.is_null() && use_regex != true) {
    return Refuse("pre_tokenizer.use_regex", use_regex, "true");
  }
  return absl::OkStatus();
}

absl::Status CheckModel(const Json& model) {
  if (!model.is_object()) return absl::InvalidArgumentError("model is missing");
  const Json& type = Member(model, "type");
  if (!type.is_null() && type != "BPE") return Refuse("model.type", type, "\"BPE\"");
  const Json& dropout = Member(model, "dropout");
  if (!dropout.is_null() && dropout != 0) return Refuse("model.dropout", dropout, "null");
  for (const char* name : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    const Json& value = Member(model, name);
    if (!value.is_null() && value != "") {
      return Refuse(absl::StrCat("model.", name), value, "null or \"\"");
    }
  }
  for (const char* name : {"byte_fallback", "ignore_merges"}) {
    ASSIGN_OR_RETURN(const bool flag, Flag(model, name, false));
    if (flag) return Refuse(absl::StrCat("model.", name), true, "false");
  }
  for (const char* name : {"vocab", "merges"}) {
    if (Member(model, name).is_null()) {
      return absl::InvalidArgumentError(absl::StrCat("model.", name, " is missing"));
    }
  }
  return absl::OkStatus();
}

// The flags of an added token, which tokenizer.json and added_tokens_decoder spell alike.
absl::StatusOr<AddedToken> ReadAddedToken(const Json& value) {
  AddedToken token;
  const Json& content = Member(value, "content");
  if (!content.is_string()) return absl::InvalidArgumentError("content must be a string");
  token.content = content.get<std::string>();
  ASSIGN_OR_RETURN(token.special, Flag(value, "special", false));
  ASSIGN_OR_RETURN(token.lstrip, Flag(value, "lstrip", false));
  ASSIGN_OR_RETURN(token.rstrip, Flag(value, "rstrip", false));
  ASSIGN_OR_RETURN(token.normalized, Flag(value, "normalized", true));
  ASSIGN_OR_RETURN(const bool single_word, Flag(value, "single_word", false));
  if (single_word) return Refuse("single_word", true, "false");
  return token;
}

// added_tokens.json, which old versions wrote: {"content": id}.
absl::Status ReadLegacyAddedTokens(const Json& file, std::vector<AddedToken>* tokens) {
  if (!file.is_object()) return absl::InvalidArgumentError("must be an object");
  for (const auto& [content, value] : file.items()) {
    AddedToken token;
    token.content = content;
    absl::StatusOr<int32_t> id = ReadTokenId(value);
    if (!id.ok()) return Annotate(id.status(), absl::StrCat("\"", content, "\""));
    token.id = *id;
    tokens->push_back(std::move(token));
  }
  return absl::OkStatus();
}

// added_tokens_decoder of tokenizer_config.json: {"id": {"content": …, flags}}.
absl::Status ReadAddedTokensDecoder(const Json& decoder, std::vector<AddedToken>* tokens) {
  if (decoder.is_null()) return absl::OkStatus();
  if (!decoder.is_object()) return absl::InvalidArgumentError("must be an object");
  for (const auto& [key, value] : decoder.items()) {
    absl::StatusOr<AddedToken> token = ReadAddedToken(value);
    if (!token.ok()) return Annotate(token.status(), absl::StrCat("\"", key, "\""));
    int32_t id;
    if (!absl::SimpleAtoi(key, &id) || id < 0 || id >= kMaxVocabularySize) {
      return absl::InvalidArgumentError(absl::StrCat("\"", key, "\" is no token id"));
    }
    token->id = id;
    tokens->push_back(*std::move(token));
  }
  return absl::OkStatus();
}

// "eos_token": a string, or an object with the string as its content.
std::string EosToken(const Json& file) {
  const Json& value = Member(file, "eos_token");
  const Json& content = value.is_object() ? Member(value, "content") : value;
  return content.is_string() ? content.get<std::string>() : "";
}

absl::Status ReadTokenizerConfig(const Json& file, TokenizerSettings* settings) {
  ASSIGN_OR_RETURN(const bool add_prefix_space, Flag(file, "add_prefix_space", false));
  if (add_prefix_space) return Refuse("add_prefix_space", true, "false");
  settings->eos_token = EosToken(file);
  return Annotate(
      ReadAddedTokensDecoder(Member(file, "added_tokens_decoder"), &settings->added_tokens),
      "added_tokens_decoder");
}

}  // namespace

absl::StatusOr<Json> ReadJsonFile(const std::string& path) {
  ASSIGN_OR_RETURN(const std::string content, ReadFile(path, kMaxTokenizerFileBytes));
  absl::StatusOr<Json> json = ParseJson(content);
  if (!json.ok()) return Annotate(json.status(), BaseName(path));
  return json;
}

absl::StatusOr<TokenizerSettings> ReadTokenizerSettings(const std::string& folder) {
  TokenizerSettings settings;
  const auto exists = [&](const char* name) { return FileExists(JoinPath(folder, name)); };
  if (exists("added_tokens.json")) {
    ASSIGN_OR_RETURN(const Json file, ReadJsonFile(JoinPath(folder, "added_tokens.json")));
    RETURN_IF_ERROR(
        Annotate(ReadLegacyAddedTokens(file, &settings.added_tokens), "added_tokens.json"));
  }
  if (exists("tokenizer_config.json")) {
    ASSIGN_OR_RETURN(const Json file, ReadJsonFile(JoinPath(folder, "tokenizer_config.json")));
    RETURN_IF_ERROR(Annotate(ReadTokenizerConfig(file, &settings), "tokenizer_config.json"));
  }
  if (settings.eos_token.empty() && exists("special_tokens_map.json")) {
    ASSIGN_OR_RETURN(const Json file, ReadJsonFile(JoinPath(folder, "special_tokens_map.json")));
    settings.eos_token = EosToken(file);
  }
  return settings;
}

absl::Status CheckIsGpt2Tokenizer(const Json& file) {
  if (!file.is_object()) return absl::InvalidArgumentError("must be an object");
  if (const Json& normalizer = Member(file, "normalizer"); !normalizer.is_null()) {
    return Refuse("normalizer", normalizer, "null");
  }
  RETURN_IF_ERROR(CheckPreTokenizer(Member(file, "pre_tokenizer")));
  RETURN_IF_ERROR(CheckPostProcessor(file));
  RETURN_IF_ERROR(CheckByteLevelOrNull(file, "decoder"));
  return CheckModel(Member(file, "model"));
}

absl::StatusOr<std::vector<AddedToken>> ReadAddedTokenList(const Json& file) {
  std::vector<AddedToken> tokens;
  const Json& list = Member(file, "added_tokens");
  if (list.is_null()) return tokens;
  if (!list.is_array()) return absl::InvalidArgumentError("added_tokens must be a list");
  for (size_t i = 0; i < list.size(); ++i) {
    const std::string where = absl::StrCat("added_tokens[", i, "]");
    absl::StatusOr<AddedToken> token = ReadAddedToken(list[i]);
    if (!token.ok()) return Annotate(token.status(), where);
    absl::StatusOr<int32_t> id = ReadTokenId(Member(list[i], "id"));
    if (!id.ok()) return Annotate(id.status(), where);
    token->id = *id;
    tokens.push_back(*std::move(token));
  }
  return tokens;
}

absl::StatusOr<std::pair<std::string, std::string>> ReadMerge(const Json& merge) {
  if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
    return std::make_pair(merge[0].get<std::string>(), merge[1].get<std::string>());
  }
  if (merge.is_string()) {
    const std::vector<std::string> parts = absl::StrSplit(merge.get<std::string>(), ' ');
    if (parts.size() == 2) return std::make_pair(parts[0], parts[1]);
  }
  return absl::InvalidArgumentError(
      absl::StrCat(Show(merge), " must be \"a b\" or [\"a\", \"b\"]"));
}

absl::StatusOr<int32_t> ReadTokenId(const Json& value) {
  if (value.is_number_integer()) {
    const auto id = value.get<int64_t>();
    if (id >= 0 && id < kMaxVocabularySize) return static_cast<int32_t>(id);
  }
  return absl::InvalidArgumentError(absl::StrCat("the id must be a whole number from 0 to ",
                                                 kMaxVocabularySize - 1, ", not ", Show(value)));
}

}  // namespace graft
