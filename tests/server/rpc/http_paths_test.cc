// What the .proto files say of the public API's paths over HTTP (google.api.http).
#include <map>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "google/api/annotations.pb.h"
#include "graft/v1/adapter.grpc.pb.h"
#include "graft/v1/dataset.grpc.pb.h"
#include "graft/v1/job.grpc.pb.h"
#include "graft/v1/model.grpc.pb.h"
#include "graft/v1/study.grpc.pb.h"
#include "graft/v1/upload.grpc.pb.h"
#include "graft/v1/worker.grpc.pb.h"
#include "gtest/gtest.h"

namespace graft {
namespace {

using google::api::HttpRule;
using google::protobuf::FieldDescriptor;
using google::protobuf::MethodDescriptor;

std::vector<const MethodDescriptor*> PublicMethods() {
  std::vector<const MethodDescriptor*> methods;
  for (const char* service :
       {v1::JobService::service_full_name(), v1::StudyService::service_full_name(),
        v1::DatasetService::service_full_name(), v1::AdapterService::service_full_name(),
        v1::ModelService::service_full_name(), v1::UploadService::service_full_name(),
        v1::WorkerService::service_full_name()}) {
    const auto* found =
        google::protobuf::DescriptorPool::generated_pool()->FindServiceByName(service);
    for (int i = 0; i < found->method_count(); ++i) methods.push_back(found->method(i));
  }
  return methods;
}

std::vector<HttpRule> RulesOf(const MethodDescriptor& method) {
  const HttpRule& first = method.options().GetExtension(google::api::http);
  std::vector<HttpRule> rules(first.additional_bindings().begin(),
                              first.additional_bindings().end());
  rules.insert(rules.begin(), first);
  return rules;
}

std::string VerbAndPath(const HttpRule& rule) {
  switch (rule.pattern_case()) {
    case HttpRule::kGet:
      return absl::StrCat("GET ", rule.get());
    case HttpRule::kPut:
      return absl::StrCat("PUT ", rule.put());
    case HttpRule::kPost:
      return absl::StrCat("POST ", rule.post());
    case HttpRule::kDelete:
      return absl::StrCat("DELETE ", rule.delete_());
    case HttpRule::kPatch:
      return absl::StrCat("PATCH ", rule.patch());
    default:
      return "";
  }
}

// "{name=jobs/*}" is "jobs/*", "{name}" is "*": what requests are told apart by.
std::string Shape(std::string path) {
  for (size_t begin = path.find('{'); begin != std::string::npos; begin = path.find('{')) {
    const size_t end = path.find('}', begin);
    const std::string variable = path.substr(begin + 1, end - begin - 1);
    const size_t equals = variable.find('=');
    path.replace(begin, end - begin + 1,
                 equals == std::string::npos ? "*" : variable.substr(equals + 1));
  }
  return path;
}

std::vector<std::string> Variables(absl::string_view path) {
  std::vector<std::string> variables;
  for (size_t begin = path.find('{'); begin != std::string::npos; begin = path.find('{')) {
    path.remove_prefix(begin + 1);
    variables.emplace_back(path.substr(0, path.find_first_of("=}")));
  }
  return variables;
}

const FieldDescriptor* FieldAt(const google::protobuf::Descriptor* message, const std::string& at) {
  const FieldDescriptor* field = nullptr;
  for (const auto& name : absl::StrSplit(at, '.')) {
    if (message == nullptr) return nullptr;
    field = message->FindFieldByName(std::string(name));
    if (field == nullptr) return nullptr;
    message = field->message_type();
  }
  return field;
}

TEST(HttpPaths, EveryPublicMethodHasOneBelowV1) {
  for (const MethodDescriptor* method : PublicMethods()) {
    for (const HttpRule& rule : RulesOf(*method)) {
      EXPECT_THAT(VerbAndPath(rule), testing::MatchesRegex("[A-Z]+ /v1/[^ ]+")) << method->name();
    }
  }
}

TEST(HttpPaths, NoTwoMethodsShareOne) {
  std::map<std::string, std::string> methods;
  for (const MethodDescriptor* method : PublicMethods()) {
    for (const HttpRule& rule : RulesOf(*method)) {
      const auto [other, added] = methods.try_emplace(Shape(VerbAndPath(rule)), method->name());
      EXPECT_TRUE(added) << method->name() << " and " << other->second << ": " << other->first;
    }
  }
}

TEST(HttpPaths, WhatTheyNameAreFieldsOfTheRequest) {
  for (const MethodDescriptor* method : PublicMethods()) {
    for (const HttpRule& rule : RulesOf(*method)) {
      for (const std::string& variable : Variables(VerbAndPath(rule))) {
        const FieldDescriptor* field = FieldAt(method->input_type(), variable);
        ASSERT_NE(field, nullptr) << method->name() << ": " << variable;
        EXPECT_EQ(field->type(), FieldDescriptor::TYPE_STRING) << method->name();
      }
      if (rule.body().empty() || rule.body() == "*") continue;
      EXPECT_NE(FieldAt(method->input_type(), rule.body()), nullptr) << method->name();
    }
  }
}

TEST(HttpPaths, WhatIsReadHasNoBody) {
  for (const MethodDescriptor* method : PublicMethods()) {
    for (const HttpRule& rule : RulesOf(*method)) {
      if (rule.has_get() || rule.has_delete_()) {
        EXPECT_EQ(rule.body(), "") << method->name();
      }
      EXPECT_TRUE(rule.has_put() || !method->client_streaming()) << method->name();
    }
  }
}

}  // namespace
}  // namespace graft
