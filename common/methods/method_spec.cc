#include "common/methods/method_spec.h"

#include <algorithm>
#include <set>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "google/protobuf/descriptor.h"
#include "graft/v1/model.pb.h"

namespace graft {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

constexpr char kLearningRate[] = "learning_rate";

const FieldDescriptor* FieldNamed(const Message& message, absl::string_view name) {
  return message.GetDescriptor()->FindFieldByName(std::string(name));
}

Message* MutablePart(absl::string_view field, v1::Method& method) {
  return method.GetReflection()->MutableMessage(&method, FieldNamed(method, field));
}

void ResolveLearningRate(const v1::TrainingSpec& training, double fallback, Message& part) {
  const FieldDescriptor* const rate = FieldNamed(part, kLearningRate);
  if (part.GetReflection()->HasField(part, rate)) return;
  part.GetReflection()->SetDouble(
      &part, rate, training.has_learning_rate() ? training.learning_rate() : fallback);
}

// The tensors of the adapter must be those of the method.
void CheckSameShapes(const v1::Adapter& adapter, const v1::Method& method,
                     const FieldScope& scope) {
  const v1::Method& from = adapter.method();
  if (MethodName(from) != MethodName(method)) {
    return scope.AddHere(absl::StrCat("is ", MethodName(method), ", but init_from names ",
                                      adapter.name(), ", which is ", MethodName(from)));
  }
  for (const Method* part : MethodsOf(method)) {
    part->CheckSameShape(
        from, method, [&](bool equal, absl::string_view field, const std::string& value) {
          scope.Require(equal, field,
                        absl::StrCat("must be that of ", adapter.name(), " (init_from), ", value));
        });
  }
}

}  // namespace

bool HasPart(const v1::Method& method, absl::string_view field) {
  const FieldDescriptor* const found = FieldNamed(method, field);
  return found != nullptr && method.GetReflection()->HasField(method, found);
}

bool Method::In(const v1::Method& method) const { return HasPart(method, field()); }

void Method::AddTo(const v1::Method& before, v1::Method& method) const {
  CopyPart(field(), before, method);
  for (const Method* other : Methods()) {
    if (other != this && absl::string_view(other->field()) == field()) other->Leave(method);
  }
}

void CopyPart(absl::string_view field, const v1::Method& from, v1::Method& method) {
  MutablePart(field, method)
      ->CopyFrom(from.GetReflection()->GetMessage(from, FieldNamed(from, field)));
}

double LearningRateOf(const Method& part, const v1::Method& method) {
  const Message& settings =
      method.GetReflection()->GetMessage(method, FieldNamed(method, part.field()));
  return settings.GetReflection()->GetDouble(settings, FieldNamed(settings, kLearningRate));
}

std::vector<const Method*> MethodsOf(const v1::Method& method) {
  std::vector<const Method*> parts;
  for (const Method* known : Methods()) {
    if (!known->In(method)) continue;
    // Of those that share a field the last one that takes it for its own is meant.
    if (!parts.empty() && absl::string_view(parts.back()->field()) == known->field()) {
      parts.back() = known;
    } else {
      parts.push_back(known);
    }
  }
  return parts;
}

std::vector<std::string> MethodFields() {
  std::vector<std::string> fields;
  for (const Method* method : Methods()) {
    if (!absl::c_linear_search(fields, method->field())) fields.push_back(method->field());
  }
  return fields;
}

std::string MethodName(const v1::Method& method) {
  return absl::StrJoin(MethodsOf(method), "+", [](std::string* text, const Method* part) {
    absl::StrAppend(text, part->name());
  });
}

void CheckMethod(const v1::Method& method, const FieldScope& scope) {
  const std::vector<const Method*> parts = MethodsOf(method);
  if (parts.empty()) {
    return scope.AddHere(
        absl::StrCat("is required: at least one of ", absl::StrJoin(MethodFields(), ", ")));
  }
  for (const Method* part : parts) {
    if (part->why_alone() == nullptr || parts.size() == 1) continue;
    scope.Add(part->field(), absl::StrCat("stands alone: ", part->why_alone()));
  }
  for (const Method* part : parts) part->Check(method, scope.At(part->field()));
}

void ResolveMethod(const v1::TrainingSpec& training, const v1::Model& model,
                   const v1::Adapter* adapter, v1::Method& method, const FieldScope& scope) {
  if (adapter != nullptr) {
    for (const Method* part : MethodsOf(adapter->method())) {
      if (HasPart(method, part->field())) part->Inherit(adapter->method(), method);
    }
  }
  std::vector<const Method*> parts = MethodsOf(method);
  std::stable_partition(parts.begin(), parts.end(),
                        [](const Method* part) { return part->trains_base(); });
  MethodContext context{model};
  for (const Method* part : parts) {
    part->Resolve(context, method, scope.At(part->field()));
    ResolveLearningRate(training, part->default_learning_rate(),
                        *MutablePart(part->field(), method));
    if (part->trains_base()) context.whole_blocks = NumWholeBlocks(method, model.n_layer());
  }
  if (adapter != nullptr) CheckSameShapes(*adapter, method, scope);
}

int NumVirtualTokens(const v1::Method& resolved) {
  return static_cast<int>(NumVirtualTokens(ToMethodConfig(resolved)));
}

int NumWholeBlocks(const v1::Method& resolved, int n_layer) {
  return static_cast<int>(NumWholeBlocks(ToMethodConfig(resolved), n_layer));
}

bool MakesModel(const v1::Method& method) {
  return absl::c_any_of(MethodsOf(method), [](const Method* part) { return part->makes_model(); });
}

MethodConfig ToMethodConfig(const v1::Method& method) {
  MethodConfig config;
  for (const Method* part : MethodsOf(method)) part->ToConfig(method, config);
  return config;
}

AdapterMethod MethodOfAdapter(const MethodConfig& parts, const Gpt2Config& gpt2) {
  AdapterMethod result;
  for (const Method* part : MethodsOf(parts)) {
    const absl::Status beyond = part->Describe(parts, gpt2, result.method);
    if (beyond.ok()) continue;
    absl::StrAppend(&result.init_from_error, result.init_from_error.empty() ? "" : "; ",
                    beyond.message());
  }
  return result;
}

}  // namespace graft
