#include "client/cli/completion.h"

#include <algorithm>
#include <cstdio>
#include <map>
#include <memory>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "client/api_client.h"
#include "client/cli/contexts.h"
#include "client/cli/output.h"
#include "client/cli/progress.h"
#include "client/cli/study_view.h"
#include "client/cli/terminal.h"
#include "client/cli/usage.h"
#include "common/jobs/method.h"

namespace graft {
namespace {

// A shell stands still meanwhile.
constexpr absl::Duration kPatience = absl::Seconds(1);
constexpr int kMostNames = 200;
constexpr size_t kAboutColumns = 60;

// What the values of options with these names are, wherever they stand.
std::vector<NameKind> KindsOf(const CLI::Option& option) {
  static const std::map<std::string, std::vector<NameKind>> kinds = {
      {"job", {NameKind::kJob}},
      {"jobs", {NameKind::kJob}},
      {"job-or-study", {NameKind::kJob, NameKind::kStudy}},
      {"study", {NameKind::kStudy}},
      {"dataset", {NameKind::kDataset}},
      {"model", {NameKind::kModel}},
      {"adapter", {NameKind::kAdapter}},
      {"result", {NameKind::kAdapter, NameKind::kJob}},
      {"context", {NameKind::kContext}},
      {"--context", {NameKind::kContext}},
      {"--train", {NameKind::kDataset}},
      {"--validation", {NameKind::kDataset}},
      {"--data", {NameKind::kDataset}},
      {"--base-model", {NameKind::kModel}},
      {"--adapter", {NameKind::kAdapter}},
      {"--init-from", {NameKind::kAdapter}}};
  const std::string type = option.get_type_name();
  if (type == "DIR" || type == "FILE") return {};
  const auto found = kinds.find(option.get_name());
  return found == kinds.end() ? std::vector<NameKind>() : found->second;
}

// "{linear,cosine}" of an option's type, as OneOf has it.
std::vector<std::string> ChoicesOf(const CLI::Option& option) {
  const std::string type = option.get_type_name();
  const size_t begin = type.find('{'), end = type.find('}');
  if (begin == std::string::npos || end == std::string::npos || end < begin) return {};
  return absl::StrSplit(type.substr(begin + 1, end - begin - 1), ',');
}

// What a description begins with.
std::string About(const std::string& description) {
  return OneLine(description.substr(0, description.find_first_of(";\n")), kAboutColumns);
}

bool LooksLikeFlag(absl::string_view word) { return absl::StartsWith(word, "-"); }

// Of the command or one that it stands below.
const CLI::Option* FindFlag(const CLI::App& command, const std::string& name) {
  for (const CLI::App* app = &command; app != nullptr; app = app->get_parent()) {
    if (const CLI::Option* option = app->get_option_no_throw(name)) return option;
  }
  return nullptr;
}

const CLI::App* CommandOf(const CLI::App& app, const std::string& name) {
  for (const CLI::App* one : app.get_subcommands([](const CLI::App*) { return true; })) {
    if (one->get_name() == name) return one;
  }
  return nullptr;
}

bool TakesValue(const CLI::Option& option) { return option.get_items_expected_min() > 0; }

// Where the words before the last one lead to.
struct Reached {
  const CLI::App* command;
  const CLI::Option* flag = nullptr;  // Whose value comes next.
  size_t positionals = 0;
  bool flags_over = false;  // "--" came.

  void Pass(const std::string& word) {
    if (flag != nullptr) {
      flag = nullptr;
    } else if (!flags_over && word == "--") {
      flags_over = true;
    } else if (!flags_over && LooksLikeFlag(word)) {
      const CLI::Option* option = FindFlag(*command, word.substr(0, word.find('=')));
      if (option != nullptr && TakesValue(*option) && !absl::StrContains(word, '=')) flag = option;
    } else if (const CLI::App* next = CommandOf(*command, word)) {
      command = next;
      positionals = 0;
    } else {
      ++positionals;
    }
  }

  // That the next word, which is no flag, is a value of.
  const CLI::Option* Positional() const {
    size_t place = positionals;
    for (const CLI::Option* option : command->get_options()) {
      if (!option->get_positional()) continue;
      if (place == 0 || option->get_items_expected_max() > 1) return option;
      --place;
    }
    return nullptr;
  }
};

class Completer {
 public:
  Completer(const std::string& typed, const NameSource& names) : typed_(typed), names_(names) {}

  void Flags(const CLI::App& command) {
    for (const CLI::App* app = &command; app != nullptr; app = app->get_parent()) {
      for (const CLI::Option* option : app->get_options()) {
        for (const std::string& name : option->get_lnames()) {
          Offer("", typed_, {"--" + name, About(option->get_description())});
        }
      }
    }
  }

  void Commands(const CLI::App& command) {
    for (const CLI::App* one : command.get_subcommands([](const CLI::App*) { return true; })) {
      Offer("", typed_, {one->get_name(), About(one->get_description())});
    }
  }

  // Of the part of what is typed that begins at `begin`.
  void Values(const CLI::Option& option, size_t begin) {
    const size_t comma = typed_.rfind(',');
    if (comma != std::string::npos && comma >= begin) begin = comma + 1;
    const std::string head = typed_.substr(0, begin), rest = typed_.substr(begin);
    for (const std::string& choice : ChoicesOf(option)) Offer(head, rest, {choice, ""});
    for (const NameKind kind : KindsOf(option)) {
      for (const Suggestion& name : names_(kind)) Offer(head, rest, name);
    }
  }

  std::vector<Suggestion> Take() { return std::move(suggestions_); }

 private:
  void Offer(const std::string& head, const std::string& typed, Suggestion one) {
    if (!absl::StartsWith(one.word, typed)) {
      // An id alone names a job or a study, too.
      one.word = one.word.substr(one.word.find('/') + 1);
      if (typed.empty() || !absl::StartsWith(one.word, typed)) return;
    }
    one.word = head + one.word;
    suggestions_.push_back(std::move(one));
  }

  const std::string& typed_;
  const NameSource& names_;
  std::vector<Suggestion> suggestions_;
};

// What a shell would take for more than a word is not offered.
bool IsPlainName(absl::string_view name) {
  return !name.empty() && std::all_of(name.begin(), name.end(), [](char c) {
    return absl::ascii_isalnum(c) || absl::StrContains("._-/", c);
  });
}

class ServerNames {
 public:
  explicit ServerNames(const std::string& server) {
    ApiClient::Options options;
    options.call_timeout = kPatience;
    options.patience = absl::ZeroDuration();
    client_ = ApiClient::Connect(server, options);
  }

  std::vector<Suggestion> Of(NameKind kind) {
    switch (kind) {
      case NameKind::kJob:
        return From(&ApiClient::ListJobs, v1::ListJobsRequest(), &v1::ListJobsResponse::jobs,
                    [](const v1::Job& job) {
                      const std::string state = StateText(job.state());
                      return absl::StrCat(job.display_name(),
                                          job.display_name().empty() ? "" : ", ", state);
                    });
      case NameKind::kStudy:
        return From(&ApiClient::ListStudies, v1::ListStudiesRequest(),
                    &v1::ListStudiesResponse::studies, [](const v1::Study& study) {
                      return absl::StrCat(study.display_name(), ", ",
                                          StudyStateText(study.state()));
                    });
      case NameKind::kDataset:
        return From(&ApiClient::ListDatasets, v1::ListDatasetsRequest(),
                    &v1::ListDatasetsResponse::datasets, [](const v1::Dataset& dataset) {
                      return absl::StrCat(FormatCount(dataset.num_rows()), " rows");
                    });
      case NameKind::kModel:
        return From(&ApiClient::ListModels, v1::ListModelsRequest(),
                    &v1::ListModelsResponse::models, [](const v1::Model& model) {
                      return absl::StrCat(FormatCount(model.num_parameters()), " parameters");
                    });
      case NameKind::kAdapter:
        return From(&ApiClient::ListAdapters, v1::ListAdaptersRequest(),
                    &v1::ListAdaptersResponse::adapters, [](const v1::Adapter& adapter) {
                      return absl::StrCat(MethodName(adapter.method()), " on ",
                                          adapter.base_model());
                    });
      case NameKind::kContext:
        return OfContexts();
    }
    return {};
  }

 private:
  static std::vector<Suggestion> OfContexts() {
    std::vector<Suggestion> names;
    const absl::StatusOr<Contexts> contexts = ReadContexts(ContextsPath());
    if (!contexts.ok()) return names;
    for (const auto& [name, server] : contexts->servers) names.push_back({name, server});
    return names;
  }

  template <typename Request, typename Response, typename Item, typename AboutOf>
  std::vector<Suggestion> From(absl::StatusOr<Response> (ApiClient::*list)(const Request&),
                               Request request,
                               const google::protobuf::RepeatedPtrField<Item>& (Response::*items)()
                                   const,
                               const AboutOf& about) {
    request.set_page_size(kMostNames);
    const absl::StatusOr<Response> response = (client_.get()->*list)(request);
    std::vector<Suggestion> names;
    if (!response.ok()) return names;
    for (const Item& item : ((*response).*items)()) {
      if (IsPlainName(item.name())) {
        names.push_back({item.name(), OneLine(about(item), kAboutColumns)});
      }
    }
    return names;
  }

  std::unique_ptr<ApiClient> client_;
};

// What --server or --context says, at its last place.
std::string ServerOf(const std::vector<std::string>& words, const std::string& usual) {
  std::string server = usual;
  for (size_t i = 0; i < words.size(); ++i) {
    if (words[i] == "--server" && i + 2 < words.size()) server = words[i + 1];
    if (absl::StartsWith(words[i], "--server=")) server = words[i].substr(words[i].find('=') + 1);
    std::string name;
    if (words[i] == "--context" && i + 2 < words.size()) name = words[i + 1];
    if (absl::StartsWith(words[i], "--context=")) name = words[i].substr(words[i].find('=') + 1);
    if (name.empty()) continue;
    const absl::StatusOr<Contexts> contexts = ReadContexts(ContextsPath());
    if (contexts.ok()) server = ServerOfContext(*contexts, name).value_or(server);
  }
  return server;
}

}  // namespace

std::vector<Suggestion> Complete(const CLI::App& app, std::vector<std::string> words,
                                 const NameSource& names) {
  if (words.empty()) return {};
  const std::string typed = words.back();
  words.pop_back();
  Reached reached{&app};
  for (const std::string& word : FoldFlags(words)) reached.Pass(word);
  Completer completer(typed, names);
  if (reached.flag != nullptr) {
    completer.Values(*reached.flag, 0);
  } else if (!reached.flags_over && LooksLikeFlag(typed)) {
    const size_t equals = typed.find('=');
    const CLI::Option* flag = FindFlag(*reached.command, typed.substr(0, equals));
    if (equals == std::string::npos) completer.Flags(*reached.command);
    if (equals != std::string::npos && flag != nullptr) completer.Values(*flag, equals + 1);
  } else {
    completer.Commands(*reached.command);
    const CLI::Option* positional = reached.Positional();
    if (positional != nullptr) completer.Values(*positional, 0);
  }
  return completer.Take();
}

void PrintCompletions(const CLI::App& app, const std::string& server,
                      const std::vector<std::string>& words) {
  ServerNames names(ServerOf(words, server));
  for (const Suggestion& one :
       Complete(app, words, [&](NameKind kind) { return names.Of(kind); })) {
    std::fputs(Printable(absl::StrCat(one.word, "\t", one.about, "\n")).c_str(), stdout);
  }
}

}  // namespace graft
