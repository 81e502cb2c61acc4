#include "common/methods/peft_modules.h"

#include <re2/re2.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <map>
#include <memory>
#include <optional>
#include <set>

#include "absl/algorithm/container.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/status_macros.h"
#include "common/base/utf8.h"

namespace graft {
namespace {

constexpr char kValidTargets[] = "c_attn, attn.c_proj, c_fc, mlp.c_proj (c_proj: both)";
constexpr char kValidSaved[] = "blocks (transformer.h.N) and modules in them, ln_f and lm_head";

struct Module {
  std::string path;  // as PEFT sees it, "transformer.h.0.attn.c_attn"
  int64_t layer = -1;
  int64_t in = 0;  // > 0: a Conv1D
  int64_t out = 0;
};

// All that named_modules() lists and a name could mean.
std::vector<Module> AllModules(const Gpt2Config& gpt2) {
  std::vector<Module> modules = {{"transformer"},
                                 {"transformer.wte"},
                                 {"transformer.wpe"},
                                 {"transformer.drop"},
                                 {"transformer.h"}};
  const int64_t width = gpt2.n_embd;
  for (int64_t layer = 0; layer < gpt2.n_layer; ++layer) {
    const std::string block = absl::StrCat("transformer.h.", layer);
    const auto add = [&](absl::string_view name, int64_t in = 0, int64_t out = 0) {
      modules.push_back({absl::StrCat(block, name), layer, in, out});
    };
    add("");
    add(".ln_1");
    add(".attn");
    add(".attn.c_attn", width, 3 * width);
    add(".attn.c_proj", width, width);
    add(".attn.attn_dropout");
    add(".attn.resid_dropout");
    add(".ln_2");
    add(".mlp");
    add(".mlp.c_fc", width, gpt2.n_inner);
    add(".mlp.c_proj", gpt2.n_inner, width);
    add(".mlp.act");
    add(".mlp.dropout");
  }
  modules.push_back({"transformer.ln_f"});
  modules.push_back({"lm_head"});
  return modules;
}

// RE2 instead of std::regex: patterns come from outside and must not run for ever or overflow the
// stack.
absl::StatusOr<std::unique_ptr<RE2>> Compile(absl::string_view field, absl::string_view pattern) {
  RE2::Options options;
  options.set_log_errors(false);
  auto regex = std::make_unique<RE2>(re2::StringPiece(pattern.data(), pattern.size()), options);
  if (regex->ok()) return regex;
  const std::string problem =
      absl::StrCat(field, " '", Shortened(pattern, 200), "': ", regex->error());
  if (regex->error_code() == RE2::ErrorBadPerlOp || regex->error_code() == RE2::ErrorBadEscape) {
    return absl::UnimplementedError(
        absl::StrCat(problem, " (look-around and back references are not supported)"));
  }
  return absl::InvalidArgumentError(problem);
}

bool EndsWithName(absl::string_view path, absl::string_view name) {
  return path == name || absl::EndsWith(path, absl::StrCat(".", name));
}

// The compiled form of the fields that decide about one module.
class Matcher {
 public:
  static absl::StatusOr<Matcher> Make(const PeftLoraConfig& peft) {
    Matcher matcher(peft);
    if (!peft.target_regex.empty()) {
      ASSIGN_OR_RETURN(matcher.target_, Compile("target_modules", peft.target_regex));
    }
    if (!peft.exclude_regex.empty()) {
      ASSIGN_OR_RETURN(matcher.exclude_, Compile("exclude_modules", peft.exclude_regex));
    }
    for (const std::string& pattern : peft.layers_pattern) {
      ASSIGN_OR_RETURN(std::unique_ptr<RE2> regex, CompileEnding("layers_pattern", pattern));
      matcher.layer_patterns_.push_back(std::move(regex));
    }
    for (const auto& [key, rank] : peft.rank_pattern) {
      ASSIGN_OR_RETURN(std::unique_ptr<RE2> regex, CompileEnding("rank_pattern", key));
      matcher.ranks_.emplace_back(std::move(regex), rank);
    }
    for (const auto& [key, alpha] : peft.alpha_pattern) {
      ASSIGN_OR_RETURN(std::unique_ptr<RE2> regex, CompileEnding("alpha_pattern", key));
      matcher.alphas_.emplace_back(std::move(regex), alpha);
    }
    return matcher;
  }

  bool Targets(const Module& module) const {
    if (exclude_ != nullptr && RE2::FullMatch(module.path, *exclude_)) return false;
    for (const std::string& name : peft_.exclude_modules) {
      if (EndsWithName(module.path, name)) return false;
    }
    if (target_ != nullptr) return RE2::FullMatch(module.path, *target_);
    // A full path counts whatever layers_to_transform says.
    if (absl::c_linear_search(peft_.target_modules, module.path)) return true;
    const bool named = absl::c_any_of(peft_.target_modules, [&](const std::string& name) {
      return absl::EndsWith(module.path, absl::StrCat(".", name));
    });
    return named && LayerIsMeant(module);
  }

  int64_t RankOf(const Module& module) const {
    for (const auto& [regex, rank] : ranks_) {
      if (RE2::FullMatch(module.path, *regex)) return rank;
    }
    return peft_.rank;
  }
  double AlphaOf(const Module& module) const {
    for (const auto& [regex, alpha] : alphas_) {
      if (RE2::FullMatch(module.path, *regex)) return alpha;
    }
    return peft_.alpha;
  }

 private:
  explicit Matcher(const PeftLoraConfig& peft) : peft_(peft) {}

  static absl::StatusOr<std::unique_ptr<RE2>> CompileEnding(absl::string_view field,
                                                            absl::string_view key) {
    return Compile(field, absl::StrCat("(?:.*\\.)?(?:", key, ")"));
  }

  bool LayerIsMeant(const Module& module) const {
    if (peft_.layers_to_transform.empty()) return true;
    // The pattern names the list that holds the layers; a GPT-2 has one.
    const bool in_list =
        layer_patterns_.empty() || absl::c_any_of(layer_patterns_, [](const auto& regex) {
          return RE2::FullMatch("transformer.h", *regex);
        });
    return in_list && module.layer >= 0 &&
           absl::c_linear_search(peft_.layers_to_transform, module.layer);
  }

  const PeftLoraConfig& peft_;
  std::unique_ptr<RE2> target_;
  std::unique_ptr<RE2> exclude_;
  std::vector<std::unique_ptr<RE2>> layer_patterns_;
  std::vector<std::pair<std::unique_ptr<RE2>, int64_t>> ranks_;
  std::vector<std::pair<std::unique_ptr<RE2>, double>> alphas_;
};

bool IsInside(absl::string_view path, absl::string_view module) {
  return path == module || absl::StartsWith(path, absl::StrCat(module, "."));
}

absl::StatusOr<LoraModule> MakeLoraModule(const Module& module, const Matcher& matcher,
                                          bool use_rslora) {
  LoraModule lora;
  lora.name = module.path.substr(std::string("transformer.").size());
  lora.layer = module.layer;
  lora.in = module.in;
  lora.out = module.out;
  lora.rank = matcher.RankOf(module);
  lora.alpha = matcher.AlphaOf(module);
  const int64_t most = std::min(module.in, module.out);
  if (lora.rank < 1 || lora.rank > most) {
    return absl::InvalidArgumentError(
        absl::StrCat("rank ", lora.rank, " of ", lora.name, ": must be from 1 to ", most));
  }
  const double rank = static_cast<double>(lora.rank);
  lora.scaling = lora.alpha / (use_rslora ? std::sqrt(rank) : rank);
  return lora;
}

}  // namespace

std::string PeftModulePath(absl::string_view name) {
  return IsInside(name, "lm_head") ? std::string(name) : absl::StrCat("transformer.", name);
}

absl::StatusOr<std::vector<LoraModule>> ResolveLoraModules(const PeftLoraConfig& peft,
                                                           const Gpt2Config& gpt2) {
  std::vector<LoraModule> found;
  if (peft.target_modules.empty() && peft.target_regex.empty()) return found;
  ASSIGN_OR_RETURN(const Matcher matcher, Matcher::Make(peft));
  std::vector<std::string> saved;
  if (!peft.modules_to_save.empty()) {
    ASSIGN_OR_RETURN(saved, ResolveSavedModules(peft.modules_to_save, gpt2));
  }
  for (const Module& module : AllModules(gpt2)) {
    const bool is_saved = absl::c_any_of(saved, [&](const std::string& name) {
      return IsInside(module.path, PeftModulePath(name));
    });
    if (is_saved || !matcher.Targets(module)) continue;
    if (module.in == 0) {
      return absl::UnimplementedError(absl::StrCat("target_modules: LoRA on ", module.path,
                                                   " is not supported; ", kValidTargets, " are"));
    }
    ASSIGN_OR_RETURN(LoraModule lora, MakeLoraModule(module, matcher, peft.use_rslora));
    found.push_back(std::move(lora));
  }
  if (found.empty()) {
    const std::string targets =
        peft.target_regex.empty() ? absl::StrJoin(peft.target_modules, ", ") : peft.target_regex;
    return absl::InvalidArgumentError(
        absl::StrCat("target_modules: '", Shortened(targets, 200),
                     "' matches nothing that is left to train; valid are ", kValidTargets));
  }
  return found;
}

std::string NameInBlock(const LoraModule& module) {
  return module.name.substr(absl::StrCat("h.", module.layer, ".").size());
}

absl::StatusOr<LoraShape> AsLoraShape(const std::vector<LoraModule>& modules) {
  std::map<int64_t, std::set<std::string>> by_layer;
  const LoraModule& first = modules.front();
  for (const LoraModule& module : modules) {
    if (module.rank != first.rank || module.alpha != first.alpha) {
      return absl::UnimplementedError(
          absl::StrCat("LoRA on ", first.name, " has rank ", first.rank, " and alpha ", first.alpha,
                       ", on ", module.name, " rank ", module.rank, " and alpha ", module.alpha));
    }
    by_layer[module.layer].insert(NameInBlock(module));
  }
  LoraShape shape{first.rank, first.alpha, {}, {}};
  const auto& [some_layer, targets] = *by_layer.begin();
  for (const auto& [layer, here] : by_layer) {
    if (here != targets) {
      return absl::UnimplementedError(absl::StrCat("LoRA is on ", absl::StrJoin(targets, ", "),
                                                   " in block ", some_layer, ", but on ",
                                                   absl::StrJoin(here, ", "), " in block ", layer));
    }
    shape.layers.push_back(layer);
  }
  shape.target_modules.assign(targets.begin(), targets.end());
  return shape;
}

absl::StatusOr<std::vector<std::string>> ResolveSavedModules(const std::vector<std::string>& names,
                                                             const Gpt2Config& gpt2) {
  std::vector<std::string> saved;
  const std::vector<Module> modules = AllModules(gpt2);
  for (const std::string& name : names) {
    const bool matches = !name.empty() && absl::c_any_of(modules, [&](const Module& module) {
      return absl::EndsWith(module.path, name);
    });
    if (!matches) {
      return absl::InvalidArgumentError(absl::StrCat("modules_to_save: '", Shortened(name, 200),
                                                     "' matches nothing; valid are ", kValidSaved));
    }
  }
  for (const Module& module : modules) {
    const bool meant = absl::c_any_of(
        names, [&](const std::string& name) { return absl::EndsWith(module.path, name); });
    if (!meant) continue;
    for (const char* refused :
         {"transformer", "transformer.wte", "transformer.wpe", "transformer.h"}) {
      if (module.path != refused) continue;
      return absl::UnimplementedError(absl::StrCat("modules_to_save: ", module.path,
                                                   " is not supported; ", kValidSaved, " are"));
    }
    std::string plain(absl::StartsWith(module.path, "transformer.")
                          ? module.path.substr(std::string("transformer.").size())
                          : module.path);
    if (SavedModuleTensors({plain}, gpt2).empty()) continue;  // dropout, activation
    for (const std::string& outer : saved) {
      if (!IsInside(plain, outer)) continue;
      return absl::UnimplementedError(absl::StrCat("modules_to_save: names that mean both ", outer,
                                                   " and ", plain, " in it are not supported"));
    }
    saved.push_back(std::move(plain));
  }
  return saved;
}

std::vector<TensorShape> SavedModuleTensors(const std::vector<std::string>& modules,
                                            const Gpt2Config& gpt2) {
  std::vector<TensorShape> tensors;
  for (TensorShape& tensor : Gpt2TensorShapes(gpt2, true)) {
    if (absl::c_any_of(modules,
                       [&](const std::string& name) { return IsInside(tensor.name, name); })) {
      tensors.push_back(std::move(tensor));
    }
  }
  return tensors;
}

absl::StatusOr<LastLayersShape> AsLastLayers(const std::vector<std::string>& modules,
                                             const Gpt2Config& gpt2) {
  LastLayersShape shape;
  int64_t lowest = gpt2.n_layer;
  for (const std::string& module : modules) {
    int64_t layer = -1;
    if (module == "ln_f") {
      shape.final_norm = true;
    } else if (module == "lm_head") {
      shape.lm_head = true;
    } else if (RE2::FullMatch(module, "h\\.(\\d+)", &layer) && layer < gpt2.n_layer) {
      ++shape.num_layers;
      lowest = std::min(lowest, layer);
    } else {
      return absl::UnimplementedError(absl::StrCat("modules_to_save has ", module, " alone"));
    }
  }
  if (shape.num_layers != gpt2.n_layer - lowest) {
    return absl::UnimplementedError(absl::StrCat("modules_to_save has ",
                                                 absl::StrJoin(modules, ", "),
                                                 ", which are not the model's last blocks"));
  }
  return shape;
}

}  // namespace graft
