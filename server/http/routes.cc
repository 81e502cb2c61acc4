#include "server/http/routes.h"

#include <algorithm>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "common/base/status_macros.h"
#include "google/api/annotations.pb.h"
#include "graft/v1/adapter.pb.h"
#include "graft/v1/dataset.pb.h"
#include "graft/v1/job.pb.h"
#include "graft/v1/model.pb.h"
#include "graft/v1/study.pb.h"
#include "graft/v1/upload.pb.h"
#include "graft/v1/worker.pb.h"

namespace graft {
namespace {

using google::api::HttpRule;
using google::protobuf::FileDescriptor;
using google::protobuf::MethodDescriptor;
using google::protobuf::ServiceDescriptor;

std::pair<std::string, std::string> VerbAndPath(const HttpRule& rule) {
  switch (rule.pattern_case()) {
    case HttpRule::kGet:
      return {"GET", rule.get()};
    case HttpRule::kPut:
      return {"PUT", rule.put()};
    case HttpRule::kPost:
      return {"POST", rule.post()};
    case HttpRule::kDelete:
      return {"DELETE", rule.delete_()};
    case HttpRule::kPatch:
      return {"PATCH", rule.patch()};
    default:
      return {};
  }
}

// "/v1/{name=jobs/*}:cancel": segments v1, jobs, *; `name` is the last two of them.
Route RouteOf(const MethodDescriptor& method, const HttpRule& rule) {
  Route route;
  route.method = &method;
  std::tie(route.verb, route.path) = VerbAndPath(rule);
  route.body = rule.body();
  absl::string_view left = route.path;
  const size_t colon = left.rfind(':');
  if (colon != absl::string_view::npos) {
    route.custom_verb = std::string(left.substr(colon + 1));
    left = left.substr(0, colon);
  }
  while (absl::ConsumePrefix(&left, "/")) {
    if (!absl::ConsumePrefix(&left, "{")) {
      const absl::string_view word = left.substr(0, left.find('/'));
      route.segments.emplace_back(word);
      left.remove_prefix(word.size());
      continue;
    }
    const absl::string_view inside = left.substr(0, left.find('}'));
    left.remove_prefix(inside.size() + 1);
    const std::vector<std::string> named = absl::StrSplit(inside, absl::MaxSplits('=', 1));
    Route::Variable variable{named[0], route.segments.size()};
    for (absl::string_view segment : absl::StrSplit(named.size() > 1 ? named[1] : "*", '/')) {
      route.segments.emplace_back(segment);
    }
    variable.end = route.segments.size();
    route.variables.push_back(std::move(variable));
  }
  return route;
}

// The segments of a path without the custom verb; nothing where it has another one, or none.
std::optional<std::vector<std::string>> WithoutVerb(const Route& route,
                                                    std::vector<std::string> segments) {
  if (route.custom_verb.empty()) return segments;
  absl::string_view last = segments.back();
  if (!absl::ConsumeSuffix(&last, absl::StrCat(":", route.custom_verb))) return std::nullopt;
  segments.back() = std::string(last);
  return segments;
}

bool Fits(const Route& route, const std::vector<std::string>& segments) {
  const bool open_end = route.segments.back() == "**";
  if (open_end ? segments.size() < route.segments.size()
               : segments.size() != route.segments.size()) {
    return false;
  }
  for (size_t i = 0; i < route.segments.size(); ++i) {
    const bool any = route.segments[i] == "*" || route.segments[i] == "**";
    if (any ? segments[i].empty() : segments[i] != route.segments[i]) return false;
  }
  return true;
}

absl::StatusOr<RouteTable::Match> MatchOf(const Route& route,
                                          const std::vector<std::string>& segments) {
  RouteTable::Match match;
  match.route = &route;
  for (const Route::Variable& variable : route.variables) {
    const bool open_end = route.segments[variable.end - 1] == "**";
    const size_t end = open_end ? segments.size() : variable.end;
    std::vector<std::string> values;
    for (size_t i = variable.begin; i < end; ++i) {
      ASSIGN_OR_RETURN(std::string value, Decoded(segments[i]));
      values.push_back(std::move(value));
    }
    match.variables.emplace_back(variable.field, absl::StrJoin(values, "/"));
  }
  return match;
}

}  // namespace

std::vector<const ServiceDescriptor*> PublicServices() {
  std::vector<const ServiceDescriptor*> services;
  for (const FileDescriptor* file :
       {v1::Job::descriptor()->file(), v1::Study::descriptor()->file(),
        v1::Dataset::descriptor()->file(), v1::Adapter::descriptor()->file(),
        v1::Model::descriptor()->file(), v1::QueryUploadRequest::descriptor()->file(),
        v1::Worker::descriptor()->file()}) {
    for (int i = 0; i < file->service_count(); ++i) services.push_back(file->service(i));
  }
  return services;
}

RouteTable::RouteTable(const std::vector<const ServiceDescriptor*>& services) {
  for (const ServiceDescriptor* service : services) {
    for (int i = 0; i < service->method_count(); ++i) {
      const MethodDescriptor& method = *service->method(i);
      if (!method.options().HasExtension(google::api::http)) continue;
      const HttpRule& rule = method.options().GetExtension(google::api::http);
      routes_.push_back(RouteOf(method, rule));
      for (const HttpRule& more : rule.additional_bindings()) {
        routes_.push_back(RouteOf(method, more));
      }
    }
  }
  // "news:download" is the verb before it is a name.
  std::stable_partition(routes_.begin(), routes_.end(),
                        [](const Route& route) { return !route.custom_verb.empty(); });
}

absl::StatusOr<RouteTable::Match> RouteTable::Find(const std::string& verb,
                                                   const Target& target) const {
  std::set<std::string> verbs;  // That this path has.
  for (const Route& route : routes_) {
    const auto segments = WithoutVerb(route, target.segments);
    if (!segments || !Fits(route, *segments)) continue;
    // Of a download only the headers.
    if (route.verb == (verb == "HEAD" ? "GET" : verb)) return MatchOf(route, *segments);
    verbs.insert(route.verb);
  }
  if (verbs.empty()) {
    return absl::NotFoundError("nothing has this path: docs/API.md says which there are");
  }
  return absl::UnimplementedError(
      absl::StrCat(verb, " does nothing here; ", absl::StrJoin(verbs, " and "), " would"));
}

}  // namespace graft
