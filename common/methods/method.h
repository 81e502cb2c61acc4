#pragma once

// A method of training: everything about it that needs no torch. Each is one class in a file of its
// own; Methods() lists them, and whoever deals with specs or with adapters' files asks them and
// names none. What it computes stands in worker/engine/methods.
//
// No protobuf's header is included here, so that the engine may include this one.

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/formats/gpt2_config.h"
#include "common/formats/safetensors.h"
#include "common/methods/method_config.h"

namespace graft {
namespace v1 {
class Method;
class Model;
}  // namespace v1

class AdapterFolder;
class AdapterReader;
class FieldScope;
struct AdapterWriteOptions;
struct PeftAdapter;

// What the defaults and checks of a part depend on, beside itself.
struct MethodContext {
  const v1::Model& model;
  int whole_blocks = 0;  // The last blocks of the model, which another part trains whole.
};

// Demands that `equal`; `field` is a path below the method, `value` that of the adapter.
using SameShape =
    std::function<void(bool equal, absl::string_view field, const std::string& value)>;

// What an adapter's files are planned from.
struct PlanContext {
  const MethodConfig& parts;
  const Gpt2Config& gpt2;
  const AdapterWriteOptions& options;
  std::vector<std::string> saved_modules;  // That this directory carries: "h.11", "ln_f".
};

// What merging does to one tensor of the base model. Immutable.
class WeightChange {
 public:
  virtual ~WeightChange() = default;
  // `values` are the elements from number `first` on, in the order of the tensor's rows.
  virtual void Apply(int64_t first, std::span<double> values) const = 0;
};

class Method {
 public:
  virtual ~Method() = default;

  // "lora": learning rates and trained tensors go by it, and users call it that.
  virtual const char* name() const = 0;
  virtual double default_learning_rate() const = 0;
  // Is it younger than some workers that may ask for jobs? Then only those get one of it that name
  // it: others would not read its settings, and train something else.
  virtual bool must_be_known() const { return false; }

  // ---- Its part of a spec

  // The field of v1.Method that holds its settings. Methods may share one, beside each other in
  // Methods(): the last one that takes it for its own (In) is meant.
  virtual const char* field() const { return name(); }
  virtual bool In(const v1::Method& method) const;
  // Adds its part to `method`, with the settings that `before` has for it, or none.
  virtual void AddTo(const v1::Method& before, v1::Method& method) const;
  // Takes back what makes a shared field this method's own.
  virtual void Leave(v1::Method& method) const {}
  // Why no other part may stand beside it; nullptr: others may.
  virtual const char* why_alone() const { return nullptr; }
  // What can be said without the model. `scope` is the field's, as below.
  virtual void Check(const v1::Method& method, const FieldScope& scope) const {}
  // Fills what `method` leaves open from `from`, which has this part.
  virtual void Inherit(const v1::Method& from, v1::Method& method) const {}
  // Fills its defaults, but the learning rate, and checks it against the model.
  virtual void Resolve(const MethodContext& context, v1::Method& method,
                       const FieldScope& scope) const {}
  // Both have this part and are resolved: are the tensors of `from` those of `method`?
  virtual void CheckSameShape(const v1::Method& from, const v1::Method& method,
                              const SameShape& same) const {}
  // Does it train the base model's own weights? Then it is resolved before the others.
  virtual bool trains_base() const { return false; }
  // Does it train the embeddings, too? Then what it makes is a model, no adapter.
  virtual bool makes_model() const { return false; }
  // The plain values of the part.
  virtual void ToConfig(const v1::Method& method, MethodConfig& config) const = 0;

  // Functions of `parts`, here and below, are called only when these have the method's.

  // Blocks of the base model that it trains whole, the last ones.
  virtual int64_t NumWholeBlocks(const MethodConfig& parts, int64_t n_layer) const { return 0; }
  // That stand before each text.
  virtual int64_t NumVirtualTokens(const MethodConfig& parts) const { return 0; }

  // ---- Its files

  // Its PEFT adapter's type ("LORA") and its directory where several are needed; nullptr: it has
  // no adapter of its own.
  virtual const char* peft_type() const { return nullptr; }
  virtual const char* directory() const { return nullptr; }
  // Modules that are saved whole need another's adapter, or this one's own with no other beside.
  virtual bool saves_modules() const { return false; }
  // Can its adapter carry such modules in that release (PeftFieldSet)?
  virtual bool CarriesModules(absl::string_view fields) const { return false; }
  // Is this adapter_config.json, whose peft_type is this method's, one of its own? The last method
  // that says so is meant.
  virtual bool Reads(const nlohmann::json& config) const { return true; }
  // Is what the file says understood? Codes of CheckPeftConfig.
  virtual absl::Status CheckConfig(const nlohmann::json& config, absl::string_view text) const;
  // The fields of that release's files at their defaults.
  virtual nlohmann::json DefaultConfig(absl::string_view fields) const;
  // Adds what a directory holds to the reader's parts and tensors.
  virtual absl::Status Read(const nlohmann::json& config, absl::string_view text,
                            AdapterReader& reader) const;
  // When every directory is read.
  virtual void Finish(AdapterReader& reader) const {}
  virtual absl::StatusOr<PeftAdapter> Plan(const PlanContext& context) const;
  // Can Plan always say again what Read has read?
  virtual bool says_all() const { return true; }
  // `text` with what PEFT of before 0.17 must be told in other words.
  virtual absl::StatusOr<std::string> SpellOutForOldPeft(std::string text,
                                                         const Gpt2Config& gpt2) const;
  // The tensors of the part, by graft's names.
  virtual std::vector<TensorShape> Tensors(const MethodConfig& parts,
                                           const Gpt2Config& gpt2) const = 0;
  // Its line of the README; "" for none.
  virtual std::string Summary(const MethodConfig& parts, const Gpt2Config& gpt2) const {
    return "";
  }
  // The part as files have it, which knows no learning rate. UNIMPLEMENTED when a spec cannot say
  // all of it: the field is set all the same.
  virtual absl::Status Describe(const MethodConfig& parts, const Gpt2Config& gpt2,
                                v1::Method& method) const;

  // ---- Merging

  // FAILED_PRECONDITION: why its part cannot become weights.
  virtual absl::Status CheckMerge(const MethodConfig& parts) const { return absl::OkStatus(); }
  // nullptr when it leaves the tensor alone. `stored` is the base's or the adapter's own tensor of
  // that name; `adapter` must outlive the result.
  virtual std::shared_ptr<const WeightChange> ChangeOf(const AdapterFolder& adapter,
                                                       absl::string_view tensor,
                                                       const TensorView& stored) const {
    return nullptr;
  }
};

// Every method there is, in the order in which their names, tensors and files stand.
const std::vector<const Method*>& Methods();

// Those that the parts have.
std::vector<const Method*> MethodsOf(const MethodConfig& parts);
// Of all parts.
int64_t NumVirtualTokens(const MethodConfig& parts);
int64_t NumWholeBlocks(const MethodConfig& parts, int64_t n_layer);
bool MakesModel(const MethodConfig& parts);

// By the method's name.
std::map<std::string, double> DefaultLearningRates();

}  // namespace graft
