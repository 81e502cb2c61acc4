#include "common/methods/lora.h"

#include <algorithm>
#include <iterator>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "common/base/limits.h"
#include "common/base/status_macros.h"
#include "common/errors/field_checks.h"
#include "common/formats/float_convert.h"
#include "common/formats/json_util.h"
#include "common/methods/last_layers.h"
#include "common/methods/peft_adapter.h"
#include "common/methods/peft_fields.h"
#include "graft/v1/model.pb.h"
#include "graft/v1/spec.pb.h"

namespace graft {
namespace {

bool IsTargetModule(absl::string_view target) {
  for (const char* module : kTargetModules) {
    if (TargetMatches(target, module)) return true;
  }
  return false;
}

// Sorts what is given, else takes the blocks that last_layers leaves; `whole` is how many it
// trains.
void ResolveLoraLayers(int n_layer, int whole, v1::Lora& lora, const FieldScope& scope) {
  const int first_whole = n_layer - whole;
  if (lora.layers().empty()) {
    for (int layer = 0; layer < first_whole; ++layer) lora.add_layers(layer);
    scope.Require(
        !lora.layers().empty(), "layers",
        absl::StrCat("last_layers trains all ", n_layer, " blocks whole: none is left for LoRA"));
    return;
  }
  for (int i = 0; i < lora.layers_size(); ++i) {
    const int layer = lora.layers(i);
    const std::string field = absl::StrCat("layers[", i, "]");
    if (layer >= n_layer) {
      scope.Add(field, absl::StrCat(layer, " is not in the model, which has the blocks 0 to ",
                                    n_layer - 1));
    } else if (layer >= first_whole) {
      scope.Add(field, absl::StrCat("last_layers trains block ", layer, " whole"));
    }
  }
  std::sort(lora.mutable_layers()->begin(), lora.mutable_layers()->end());
}

// Plain names as a spec has them, whatever form the file uses; the file's own ones where they mean
// no more and no less than the modules.
std::vector<std::string> TargetNames(const PeftLoraConfig& peft,
                                     const std::vector<LoraModule>& modules) {
  std::set<std::string> names;
  for (const LoraModule& module : modules) names.insert(NameInBlock(module));
  std::set<std::string> meant;
  for (const char* site : kTargetModules) {
    const bool named = absl::c_any_of(
        peft.target_modules, [&](const std::string& name) { return TargetMatches(name, site); });
    if (named) meant.insert(site);
  }
  const bool plain = peft.target_regex.empty() &&
                     absl::c_none_of(peft.target_modules, [](const std::string& name) {
                       return absl::StrContains(name, "h.");
                     });
  if (plain && meant == names) return peft.target_modules;
  return {names.begin(), names.end()};
}

// Empty when they are all that is not saved whole.
std::vector<int64_t> LayersOf(const std::vector<LoraModule>& modules, const Gpt2Config& gpt2,
                              const std::vector<std::string>& saved) {
  std::set<int64_t> layers;
  for (const LoraModule& module : modules) layers.insert(module.layer);
  int64_t free = 0;
  for (int64_t layer = 0; layer < gpt2.n_layer; ++layer) {
    if (!absl::c_linear_search(saved, absl::StrCat("h.", layer))) ++free;
  }
  if (static_cast<int64_t>(layers.size()) == free) return {};
  return {layers.begin(), layers.end()};
}

std::vector<std::string> NamesOf(const std::vector<LoraModule>& modules) {
  std::vector<std::string> names;
  for (const LoraModule& module : modules) names.push_back(module.name);
  return names;
}

// What LoRA adds to one weight [in, out], an element at a time in the order of the weight's rows.
class AddedByLora : public WeightChange {
 public:
  AddedByLora(const LoraModule& module, const TensorView& a, const TensorView& b)
      : module_(module), a_(module.rank * module.in), b_(module.rank * module.out) {
    ReadFloats(a, 0, std::span(a_));
    std::vector<double> stored(b_.size());
    ReadFloats(b, 0, std::span(stored));
    for (int64_t out = 0; out < module.out; ++out) {
      for (int64_t r = 0; r < module.rank; ++r) {
        b_[r * module.out + out] = stored[out * module.rank + r];
      }
    }
  }

  void Apply(int64_t first, std::span<double> values) const override {
    for (size_t done = 0; done < values.size();) {
      const int64_t at = first + static_cast<int64_t>(done);
      const int64_t in = at / module_.out;
      const int64_t out = at % module_.out;
      const auto rest = static_cast<size_t>(module_.out - out);
      const std::span<double> row = values.subspan(done, std::min(rest, values.size() - done));
      for (int64_t r = 0; r < module_.rank; ++r) {
        const double factor = module_.scaling * a_[r * module_.in + in];
        const double* b = &b_[r * module_.out + out];
        for (size_t i = 0; i < row.size(); ++i) row[i] += factor * b[i];
      }
      done += row.size();
    }
  }

 private:
  const LoraModule module_;
  std::vector<double> a_;  // [rank, in]
  std::vector<double> b_;  // [rank, out], not as stored
};

// Under a LoraModel.
std::string StoredUnderLora(const std::string& name) {
  return absl::StrCat("base_model.model.", PeftModulePath(name), ".weight");
}

// Old PEFT versions put LoRA into saved blocks too, so the layers are said whenever some are left
// out.
std::vector<int64_t> LayersToTransform(const std::vector<int64_t>& given,
                                       const std::vector<std::string>& saved, int64_t n_layer) {
  const auto whole = [&](int64_t layer) {
    return absl::c_linear_search(saved, absl::StrCat("h.", layer));
  };
  std::vector<int64_t> layers;
  bool some_whole = false;
  for (int64_t layer = 0; layer < n_layer; ++layer) {
    some_whole = some_whole || whole(layer);
    const bool meant = given.empty() || absl::c_linear_search(given, layer);
    if (meant && !whole(layer)) layers.push_back(layer);
  }
  return given.empty() && !some_whole ? std::vector<int64_t>() : layers;
}

// Of a part that is not of files; `saved` are the modules that are trained whole beside it.
absl::StatusOr<PeftLoraConfig> AsPeft(const LoraConfig& lora, const std::vector<std::string>& saved,
                                      int64_t n_layer) {
  PeftLoraConfig config;
  config.rank = lora.rank;
  config.alpha = lora.alpha;
  config.dropout = lora.dropout;
  config.use_rslora = lora.use_rslora;
  config.target_modules = lora.target_modules;
  config.layers_to_transform = LayersToTransform(lora.layers, saved, n_layer);
  if (!lora.layers.empty() && config.layers_to_transform.empty()) {
    return absl::InvalidArgumentError("lora.layers: no layer is left that is not saved whole");
  }
  config.modules_to_save = PeftModulePaths(saved);
  return config;
}

}  // namespace

bool TargetMatches(absl::string_view target, absl::string_view module) {
  return target == module || (absl::ConsumeSuffix(&module, target) && absl::EndsWith(module, "."));
}

std::vector<TensorShape> LoraTensorShapes(const std::vector<LoraModule>& modules) {
  std::vector<TensorShape> shapes;
  for (const LoraModule& module : modules) {
    shapes.push_back({module.name + ".lora_A", {module.rank, module.in}});
    shapes.push_back({module.name + ".lora_B", {module.out, module.rank}});
  }
  return shapes;
}

std::unique_ptr<const WeightChange> LoraDelta(const LoraModule& module, const TensorView& a,
                                              const TensorView& b) {
  return std::make_unique<const AddedByLora>(module, a, b);
}

void Lora::Check(const v1::Method& method, const FieldScope& scope) const {
  const v1::Lora& lora = method.lora();
  if (lora.has_rank()) scope.AtLeast("rank", lora.rank(), 1);
  if (lora.has_alpha()) scope.Positive("alpha", lora.alpha());
  if (lora.has_dropout()) scope.Share("dropout", lora.dropout());
  if (lora.has_learning_rate()) scope.Positive("learning_rate", lora.learning_rate());
  for (int i = 0; i < lora.target_modules_size() && i < kMaxListEntries; ++i) {
    scope.Require(IsTargetModule(lora.target_modules(i)), absl::StrCat("target_modules[", i, "]"),
                  absl::StrCat("no such layer: \"", lora.target_modules(i),
                               "\"; there are c_attn, c_proj (both), c_fc, ",
                               absl::StrJoin(kTargetModules, ", ")));
  }
  scope.Require(lora.target_modules_size() <= kMaxListEntries, "target_modules", "is too long");
  std::set<int32_t> seen;
  for (int i = 0; i < lora.layers_size() && i < kMaxListEntries; ++i) {
    const std::string field = absl::StrCat("layers[", i, "]");
    scope.Require(lora.layers(i) >= 0, field, "must be 0 or greater");
    scope.Require(seen.insert(lora.layers(i)).second, field,
                  absl::StrCat(lora.layers(i), " is named twice"));
  }
  scope.Require(lora.layers_size() <= kMaxListEntries, "layers", "is too long");
}

void Lora::Inherit(const v1::Method& from_method, v1::Method& method) const {
  const v1::Lora& from = from_method.lora();
  v1::Lora& lora = *method.mutable_lora();
  if (!lora.has_rank() && from.has_rank()) lora.set_rank(from.rank());
  if (!lora.has_alpha() && from.has_alpha()) lora.set_alpha(from.alpha());
  if (lora.target_modules().empty()) *lora.mutable_target_modules() = from.target_modules();
  if (lora.layers().empty()) *lora.mutable_layers() = from.layers();
  if (from.use_rslora()) lora.set_use_rslora(true);
}

void Lora::Resolve(const MethodContext& context, v1::Method& method,
                   const FieldScope& scope) const {
  const v1::Model& model = context.model;
  v1::Lora& lora = *method.mutable_lora();
  if (!lora.has_rank()) lora.set_rank(std::min(8, model.n_embd()));
  if (!lora.has_alpha()) lora.set_alpha(16);
  if (!lora.has_dropout()) lora.set_dropout(0);
  if (lora.target_modules().empty()) lora.add_target_modules("c_attn");
  // Each of the four layers has n_embd as its smaller side.
  scope.Require(lora.rank() <= model.n_embd(), "rank",
                absl::StrCat("is ", lora.rank(), ", beyond the layer: ", model.name(), " is ",
                             model.n_embd(), " wide; must be 1 to ", model.n_embd()));
  ResolveLoraLayers(model.n_layer(), context.whole_blocks, lora, scope);
}

void Lora::CheckSameShape(const v1::Method& from, const v1::Method& method,
                          const SameShape& same) const {
  if (!from.lora().has_rank()) return;
  same(from.lora().rank() == method.lora().rank(), "lora.rank", absl::StrCat(from.lora().rank()));
}

void Lora::ToConfig(const v1::Method& method, MethodConfig& config) const {
  const v1::Lora& from = method.lora();
  LoraConfig lora;
  if (from.has_rank()) lora.rank = from.rank();
  if (from.has_alpha()) lora.alpha = from.alpha();
  if (from.has_dropout()) lora.dropout = from.dropout();
  lora.use_rslora = from.use_rslora();
  if (from.target_modules_size() > 0) {
    lora.target_modules = {from.target_modules().begin(), from.target_modules().end()};
  }
  lora.layers = {from.layers().begin(), from.layers().end()};
  SetPart(std::move(lora), config);
}

const LoraConfig& Lora::PartOf(const MethodConfig& parts) const {
  return *parts.Find<LoraConfig>();
}

void Lora::SetPart(LoraConfig part, MethodConfig& parts) const { parts.Set(std::move(part)); }

absl::Status Lora::CheckConfig(const nlohmann::json& config, absl::string_view text) const {
  return ParsePeftLora(AsLora(config), text).status();
}

nlohmann::json Lora::DefaultConfig(absl::string_view fields) const {
  return PeftLoraDefaults(fields);
}

absl::Status Lora::Read(const nlohmann::json& config, absl::string_view text,
                        AdapterReader& reader) const {
  ASSIGN_OR_RETURN(const PeftLoraConfig peft, ParsePeftLora(AsLora(config), text));
  for (const Method* method : MethodsOf(reader.parts)) {
    if (method->field() == field()) return absl::InvalidArgumentError("a second LoRA adapter");
  }
  ASSIGN_OR_RETURN(const std::vector<std::string> saved,
                   ResolveSavedModules(peft.modules_to_save, reader.gpt2));
  ASSIGN_OR_RETURN(std::vector<LoraModule> modules, ResolveLoraModules(peft, reader.gpt2));
  reader.base_model_name = peft.base_model_name;
  for (const TensorShape& tensor : ModuleTensors(modules)) {
    reader.Take(StoredName(tensor.name), tensor);
  }
  TakeSavedModules(saved, "base_model.model.", reader);
  if (modules.empty()) return absl::OkStatus();
  LoraConfig lora{peft.rank,
                  peft.alpha,
                  peft.dropout,
                  peft.use_rslora,
                  TargetNames(peft, modules),
                  LayersOf(modules, reader.gpt2, saved)};
  if (const absl::StatusOr<LoraShape> shape = AsLoraShape(modules); shape.ok()) {
    lora.rank = shape->rank;  // A pattern that all modules share.
    lora.alpha = shape->alpha;
  }
  lora.modules = std::move(modules);
  SetPart(std::move(lora), reader.parts);
  return absl::OkStatus();
}

absl::StatusOr<PeftAdapter> Lora::Plan(const PlanContext& context) const {
  ASSIGN_OR_RETURN(PeftLoraConfig config,
                   AsPeft(PartOf(context.parts), context.saved_modules, context.gpt2.n_layer));
  config.base_model_name = context.options.base_model_name;
  ASSIGN_OR_RETURN(const std::vector<LoraModule> modules, ResolveLoraModules(config, context.gpt2));
  ASSIGN_OR_RETURN(const std::string fields, PeftFieldSet(context.options.peft_version));
  PeftAdapter adapter;
  ASSIGN_OR_RETURN(adapter.config, PeftFileText(FromLora(PeftLoraObject(config, fields)), fields));
  adapter.Add(ModuleTensors(modules), [&](const std::string& name) { return StoredName(name); });
  return adapter;
}

// PEFT of before 0.17 puts LoRA into modules that are saved whole too, unless the layers are named,
// and takes rank and alpha from the first key in either pattern.
absl::StatusOr<std::string> Lora::SpellOutForOldPeft(std::string text,
                                                     const Gpt2Config& gpt2) const {
  ASSIGN_OR_RETURN(nlohmann::json object, ParseJsonObject(text));
  ASSIGN_OR_RETURN(const PeftLoraConfig lora, ParsePeftLora(AsLora(object), text));
  const auto key = [](const auto& pattern) { return pattern.first; };
  std::vector<std::string> ranks, alphas;
  absl::c_transform(lora.rank_pattern, std::back_inserter(ranks), key);
  absl::c_transform(lora.alpha_pattern, std::back_inserter(alphas), key);
  if (!ranks.empty() && !alphas.empty() && ranks != alphas) {
    return absl::InvalidArgumentError(
        "rank_pattern and alpha_pattern: PEFT before 0.17 takes both from the first key that "
        "matches "
        "in either, so their keys must be the same; 0.17 reads this adapter");
  }
  ASSIGN_OR_RETURN(const std::vector<LoraModule> meant, ResolveLoraModules(lora, gpt2));
  PeftLoraConfig old = lora;
  old.modules_to_save.clear();
  ASSIGN_OR_RETURN(std::vector<LoraModule> found, ResolveLoraModules(old, gpt2));
  if (meant.empty() || NamesOf(found) == NamesOf(meant)) return text;
  std::set<int64_t> layers;
  for (const LoraModule& module : meant) layers.insert(module.layer);
  old.layers_to_transform.assign(layers.begin(), layers.end());
  if (old.target_regex.empty()) {
    ASSIGN_OR_RETURN(found, ResolveLoraModules(old, gpt2));
  }
  if (NamesOf(found) != NamesOf(meant)) {
    return absl::InvalidArgumentError(
        "target_modules: means modules that are saved whole too, into which PEFT before 0.17 puts "
        "LoRA; name others, or use 0.17");
  }
  object["layers_to_transform"] = old.layers_to_transform;
  return object.dump();
}

std::vector<TensorShape> Lora::ModuleTensors(const std::vector<LoraModule>& modules) const {
  return LoraTensorShapes(modules);
}

std::string Lora::StoredName(const std::string& name) const { return StoredUnderLora(name); }

nlohmann::json Lora::AsLora(nlohmann::json config) const { return config; }

nlohmann::json Lora::FromLora(nlohmann::json config) const { return config; }

std::vector<TensorShape> Lora::Tensors(const MethodConfig& parts, const Gpt2Config& gpt2) const {
  const LoraConfig& lora = PartOf(parts);
  if (!lora.modules.empty()) return ModuleTensors(lora.modules);
  // Of a spec, which was checked when it was resolved: where it is wrong, it trains nothing.
  std::vector<std::string> whole;
  const int64_t blocks = graft::NumWholeBlocks(parts, gpt2.n_layer);
  for (int64_t layer = gpt2.n_layer - blocks; layer < gpt2.n_layer; ++layer) {
    whole.push_back(absl::StrCat("h.", layer));
  }
  const absl::StatusOr<PeftLoraConfig> config = AsPeft(lora, whole, gpt2.n_layer);
  if (!config.ok()) return {};
  const absl::StatusOr<std::vector<LoraModule>> modules = ResolveLoraModules(*config, gpt2);
  return modules.ok() ? ModuleTensors(*modules) : std::vector<TensorShape>();
}

std::string Lora::Summary(const MethodConfig& parts, const Gpt2Config&) const {
  const LoraConfig& lora = PartOf(parts);
  return absl::StrCat("LoRA of rank ", lora.rank, ", alpha ", lora.alpha, ", on ",
                      absl::StrJoin(lora.target_modules, ", "));
}

absl::Status Lora::Describe(const MethodConfig& parts, const Gpt2Config&,
                            v1::Method& method) const {
  const LoraConfig& part = PartOf(parts);
  v1::Lora& lora = *method.mutable_lora();
  lora.set_rank(static_cast<int32_t>(part.rank));
  lora.set_alpha(part.alpha);
  lora.set_dropout(part.dropout);
  lora.set_use_rslora(part.use_rslora);
  for (const std::string& module : part.target_modules) lora.add_target_modules(module);
  for (const int64_t layer : part.layers) lora.add_layers(static_cast<int32_t>(layer));
  const absl::Status beyond = AsLoraShape(part.modules).status();
  if (beyond.ok()) return beyond;
  return absl::UnimplementedError(absl::StrCat(
      beyond.message(),
      ", but a method has one rank, one alpha, and the same target_modules in all of its layers"));
}

std::shared_ptr<const WeightChange> Lora::ChangeOf(const AdapterFolder& adapter,
                                                   absl::string_view tensor,
                                                   const TensorView&) const {
  for (const LoraModule& module : PartOf(adapter.parts()).modules) {
    if (tensor != absl::StrCat(module.name, ".weight")) continue;
    return LoraDelta(module, *adapter.Find(module.name + ".lora_A"),
                     *adapter.Find(module.name + ".lora_B"));
  }
  return nullptr;
}

}  // namespace graft
