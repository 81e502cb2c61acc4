#include "client/cli/settings.h"

#include <limits>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "common/jobs/job_spec.h"
#include "common/jobs/message_json.h"
#include "common/methods/method_spec.h"
#include "google/protobuf/descriptor.h"

namespace graft {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

// Model, data, adapter and the method's parts, without any setting.
v1::JobSpec NamesOf(const v1::JobSpec& submitted) {
  v1::JobSpec names;
  const auto name_data = [](const v1::DataSpec& from, v1::DataSpec& to) {
    to.set_train(from.train());
    if (from.has_validation()) to.set_validation(from.validation());
    if (from.has_validation_fraction()) to.set_validation_fraction(from.validation_fraction());
  };
  if (submitted.has_evaluate()) {
    v1::EvaluateSpec& spec = *names.mutable_evaluate();
    spec.set_base_model(submitted.evaluate().base_model());
    spec.set_adapter(submitted.evaluate().adapter());
    *spec.mutable_adapters() = submitted.evaluate().adapters();
    name_data(submitted.evaluate().data(), *spec.mutable_data());
    return names;
  }
  const v1::FineTuneSpec& from = submitted.fine_tune();
  v1::FineTuneSpec& spec = *names.mutable_fine_tune();
  spec.set_base_model(from.base_model());
  spec.set_init_from(from.init_from());
  spec.set_output_name(from.output_name());
  name_data(from.data(), *spec.mutable_data());
  for (const Method* part : MethodsOf(from.method())) {
    part->AddTo(v1::Method(), *spec.mutable_method());
  }
  return names;
}

// What `names` resolves to; itself where that is not known.
v1::JobSpec DefaultsOf(const v1::JobSpec& names, const v1::Model* model,
                       const std::vector<v1::Adapter>& adapters) {
  if (model == nullptr) return names;
  v1::Dataset dataset;
  dataset.set_name("data");
  dataset.set_num_rows(std::numeric_limits<int32_t>::max());
  for (const char* field : {"document", "summary"}) dataset.add_fields(field);
  SpecFacts facts;
  facts.base_model = model;
  const bool several = !names.evaluate().adapters().empty();
  if (!several && !adapters.empty()) facts.adapter = &adapters[0];
  for (const v1::Adapter& adapter : adapters) {
    if (several) facts.adapters.push_back(&adapter);
  }
  facts.train = &dataset;
  facts.validation = &dataset;
  // A number of threads is the server's setting unless it was chosen, and then none of these.
  return ResolveSpec(names, facts, {.threads = 0}, "spec").value_or(names);
}

std::string ValueText(const Message& message, const FieldDescriptor& field, int index) {
  const Reflection& reflection = *message.GetReflection();
  const auto get = [&](auto single, auto repeated) {
    return index < 0 ? (reflection.*single)(message, &field)
                     : (reflection.*repeated)(message, &field, index);
  };
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT32:
      return absl::StrCat(get(&Reflection::GetInt32, &Reflection::GetRepeatedInt32));
    case FieldDescriptor::CPPTYPE_INT64:
      return absl::StrCat(get(&Reflection::GetInt64, &Reflection::GetRepeatedInt64));
    case FieldDescriptor::CPPTYPE_UINT64:
      return absl::StrCat(get(&Reflection::GetUInt64, &Reflection::GetRepeatedUInt64));
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return absl::StrCat(get(&Reflection::GetDouble, &Reflection::GetRepeatedDouble));
    case FieldDescriptor::CPPTYPE_BOOL:
      return get(&Reflection::GetBool, &Reflection::GetRepeatedBool) ? "true" : "false";
    case FieldDescriptor::CPPTYPE_ENUM:
      return EnumNames(
          *field.enum_type())[get(&Reflection::GetEnum, &Reflection::GetRepeatedEnum)->index() - 1];
    case FieldDescriptor::CPPTYPE_STRING:
      return absl::StrReplaceAll(get(&Reflection::GetString, &Reflection::GetRepeatedString),
                                 {{"\\", "\\\\"}, {"\n", "\\n"}, {"\t", "\\t"}});
    default:
      return "";
  }
}

std::string TextOf(const Message& message, const FieldDescriptor& field) {
  if (!field.is_repeated()) return ValueText(message, field, -1);
  std::vector<std::string> values;
  for (int i = 0; i < message.GetReflection()->FieldSize(message, &field); ++i) {
    values.push_back(ValueText(message, field, i));
  }
  return absl::StrJoin(values, ",");
}

// Every set field of `chosen` that `defaults` does not have alike.
void AddDifferences(const Message& chosen, const Message& defaults, const std::string& path,
                    std::vector<Setting>& settings) {
  std::vector<const FieldDescriptor*> fields;
  const Reflection& reflection = *chosen.GetReflection();
  reflection.ListFields(chosen, &fields);
  for (const FieldDescriptor* field : fields) {
    const std::string name = absl::StrCat(path, ".", field->name());
    if (field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
      AddDifferences(reflection.GetMessage(chosen, field), reflection.GetMessage(defaults, field),
                     name, settings);
      continue;
    }
    const bool set = field->is_repeated() || reflection.HasField(defaults, field);
    const std::string value = TextOf(chosen, *field);
    if (!set || value != TextOf(defaults, *field)) settings.push_back({name, value});
  }
}

}  // namespace

std::vector<Setting> ChosenSettings(const v1::JobSpec& submitted, const v1::Model* model,
                                    const std::vector<v1::Adapter>& adapters) {
  const v1::JobSpec names = NamesOf(submitted);
  v1::JobSpec defaults = DefaultsOf(names, model, adapters);
  std::vector<Setting> settings;
  AddDifferences(submitted, defaults, "spec", settings);
  return settings;
}

}  // namespace graft
