#include "common/methods/dora.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/formats/float_convert.h"
#include "common/methods/adapter_files.h"
#include "common/methods/peft_fields.h"
#include "graft/v1/spec.pb.h"

namespace graft {
namespace {

constexpr char kUseDora[] = "use_dora";
constexpr int64_t kValuesAtOnce = int64_t{1} << 16;

// W [in, out] with LoRA's change, each column as long as its magnitude says.
class ScaledByDora : public WeightChange {
 public:
  ScaledByDora(const LoraModule& module, std::unique_ptr<const WeightChange> lora,
               const TensorView& magnitude, const TensorView& stored)
      : lora_(std::move(lora)), factors_(static_cast<size_t>(module.out)) {
    std::vector<double> squares(factors_.size(), 0);
    for (int64_t first = 0; first < module.in * module.out;) {
      std::vector<double> values(
          static_cast<size_t>(std::min(kValuesAtOnce, module.in * module.out - first)));
      ReadFloats(stored, first, std::span(values));
      lora_->Apply(first, std::span(values));
      for (const double value : values) {
        squares[static_cast<size_t>(first++ % module.out)] += value * value;
      }
    }
    ReadFloats(magnitude, 0, std::span(factors_));
    for (size_t out = 0; out < factors_.size(); ++out) factors_[out] /= std::sqrt(squares[out]);
  }

  void Apply(int64_t first, std::span<double> values) const override {
    lora_->Apply(first, values);
    const auto out = static_cast<int64_t>(factors_.size());
    for (double& value : values) value *= factors_[static_cast<size_t>(first++ % out)];
  }

 private:
  const std::unique_ptr<const WeightChange> lora_;
  std::vector<double> factors_;  // [out]: magnitude / length
};

}  // namespace

bool Dora::In(const v1::Method& method) const {
  return method.has_lora() && method.lora().use_dora();
}

void Dora::AddTo(const v1::Method& before, v1::Method& method) const {
  Lora::AddTo(before, method);
  method.mutable_lora()->set_use_dora(true);
}

void Dora::Leave(v1::Method& method) const { method.mutable_lora()->set_use_dora(false); }

void Dora::Inherit(const v1::Method& from, v1::Method& method) const {
  Lora::Inherit(from, method);
  method.mutable_lora()->set_use_dora(true);
}

bool Dora::Reads(const nlohmann::json& config) const {
  const auto found = config.find(kUseDora);
  return found != config.end() && found->is_boolean() && found->get<bool>();
}

// The releases before 0.14 have the field, too, but some of them take the lengths of a Conv1D's
// rows for those of its columns.
nlohmann::json Dora::DefaultConfig(absl::string_view fields) const {
  nlohmann::json config = Lora::DefaultConfig(fields);
  if (IsBeforePeft(fields, 14)) config.erase(kUseDora);
  return config;
}

std::string Dora::Summary(const MethodConfig& parts, const Gpt2Config& gpt2) const {
  return absl::StrCat("DoRA", absl::StripPrefix(Lora::Summary(parts, gpt2), "LoRA"));
}

absl::Status Dora::Describe(const MethodConfig& parts, const Gpt2Config& gpt2,
                            v1::Method& method) const {
  method.mutable_lora()->set_use_dora(true);
  return Lora::Describe(parts, gpt2, method);
}

std::shared_ptr<const WeightChange> Dora::ChangeOf(const AdapterFolder& adapter,
                                                   absl::string_view tensor,
                                                   const TensorView& stored) const {
  for (const LoraModule& module : PartOf(adapter.parts()).modules) {
    if (tensor != absl::StrCat(module.name, ".weight")) continue;
    return std::make_shared<const ScaledByDora>(
        module,
        LoraDelta(module, *adapter.Find(module.name + ".lora_A"),
                  *adapter.Find(module.name + ".lora_B")),
        *adapter.Find(module.name + kMagnitudeSuffix), stored);
  }
  return nullptr;
}

const LoraConfig& Dora::PartOf(const MethodConfig& parts) const {
  return *parts.Find<DoraConfig>();
}

void Dora::SetPart(LoraConfig part, MethodConfig& parts) const {
  parts.Set(DoraConfig{std::move(part)});
}

nlohmann::json Dora::AsLora(nlohmann::json config) const {
  config.erase(kUseDora);
  return config;
}

nlohmann::json Dora::FromLora(nlohmann::json config) const {
  config[kUseDora] = true;
  return config;
}

std::vector<TensorShape> Dora::ModuleTensors(const std::vector<LoraModule>& modules) const {
  std::vector<TensorShape> tensors;
  for (const LoraModule& module : modules) {
    for (TensorShape& tensor : LoraTensorShapes({module})) tensors.push_back(std::move(tensor));
    tensors.push_back({module.name + kMagnitudeSuffix, {module.out}});
  }
  return tensors;
}

std::string Dora::StoredName(const std::string& name) const {
  const std::string stored = Lora::StoredName(name);
  if (!absl::EndsWith(name, kMagnitudeSuffix)) return stored;
  return std::string(absl::StripSuffix(stored, ".weight"));
}

}  // namespace graft
