#include "server/http/transcoding.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/base/json.h"
#include "common/base/status_macros.h"
#include "common/base/utf8.h"
#include "common/errors/status_details.h"
#include "common/jobs/message_json.h"
#include "common/studies/field_path.h"
#include "google/protobuf/util/json_util.h"
#include "nlohmann/json.hpp"

namespace graft {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using nlohmann::json;

// The value at `path`, with the objects on the way. INVALID_ARGUMENT: something on the way is
// another kind of value.
absl::StatusOr<json*> At(json& object, absl::string_view path) {
  json* place = &object;
  for (absl::string_view name : absl::StrSplit(path, '.')) {
    if (!place->is_object() && !place->is_null()) {
      return FieldViolation(path, absl::StrCat("what has ", name, " must be an object"));
    }
    place = &(*place)[std::string(name)];
  }
  return place;
}

absl::StatusOr<json> ValueOf(const FieldDescriptor& field, absl::string_view path,
                             const std::string& text) {
  if (field.type() != FieldDescriptor::TYPE_BOOL) return json(text);
  if (text == "true" || text.empty()) return json(true);  // "?force"
  if (text == "false") return json(false);
  return FieldViolation(path,
                        absl::StrCat("must be true or false, not \"", Shortened(text, 100), "\""));
}

absl::Status AddQuery(const Descriptor& type,
                      const std::vector<std::pair<std::string, std::string>>& query, json& object) {
  for (const auto& [path, text] : query) {
    const FieldDescriptor* field = FindField(type, path);
    if (field == nullptr) return NoSuchField(type, path, "");
    ASSIGN_OR_RETURN(json * place, At(object, path));
    ASSIGN_OR_RETURN(json value, ValueOf(*field, path, text));
    if (!field->is_repeated()) {
      *place = std::move(value);
    } else if (field->is_map() || (!place->is_null() && !place->is_array())) {
      return FieldViolation(path, "can only be given in a body");
    } else {
      place->push_back(std::move(value));
    }
  }
  return absl::OkStatus();
}

absl::Status AddBody(const std::string& field, absl::string_view body, json& object) {
  if (body.empty()) return absl::OkStatus();
  absl::StatusOr<json> parsed = ParseJson(body);
  if (!parsed.ok()) return FieldViolation("body", parsed.status().message());
  if (!parsed->is_object()) return FieldViolation("body", "must be a JSON object");
  (field == "*" ? object : object[field]) = *std::move(parsed);
  return absl::OkStatus();
}

}  // namespace

std::unique_ptr<Message> NewMessage(const Descriptor& type) {
  const Message* prototype =
      google::protobuf::MessageFactory::generated_factory()->GetPrototype(&type);
  return std::unique_ptr<Message>(prototype->New());
}

absl::StatusOr<std::unique_ptr<Message>> MakeRequest(
    const RouteTable::Match& match, const std::vector<std::pair<std::string, std::string>>& query,
    absl::string_view body) {
  const Descriptor& type = *match.route->method->input_type();
  json object = json::object();
  if (match.route->body.empty() && !body.empty()) {
    return FieldViolation("body", "there must be none");
  }
  RETURN_IF_ERROR(AddBody(match.route->body, body, object));
  RETURN_IF_ERROR(AddQuery(type, query, object));
  for (const auto& [path, value] : match.variables) {
    ASSIGN_OR_RETURN(json * place, At(object, path));
    *place = value;
  }
  RETURN_IF_ERROR(MakeExactJson(type, "", object));
  std::unique_ptr<Message> request = NewMessage(type);
  const auto parsed = google::protobuf::util::JsonStringToMessage(object.dump(), request.get());
  if (!parsed.ok()) {
    return absl::InvalidArgumentError(
        absl::string_view(parsed.message().data(), parsed.message().size()));
  }
  return request;
}

}  // namespace graft
