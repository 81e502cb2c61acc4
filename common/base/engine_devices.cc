#include "common/base/engine_devices.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "common/base/file.h"
#include "common/base/json.h"
#include "common/base/status_macros.h"
#include "common/base/subprocess.h"
#include "common/base/unique_fd.h"
#include "common/base/utf8.h"

namespace graft {
namespace {

// A driver that is being loaded, or a GPU that hangs, must not keep a worker from its start.
constexpr absl::Duration kPatience = absl::Minutes(2);
constexpr int64_t kMaxAnswerBytes = 1 << 20;

std::string VariableOr(const char* name, const char* otherwise) {
  const char* const value = std::getenv(name);
  return value != nullptr && *value != '\0' ? value : otherwise;
}

absl::StatusOr<std::string> OutputOf(const std::string& program, const std::string& word) {
  std::string path = JoinPath(VariableOr("TMPDIR", "/tmp"), "graft-devices-XXXXXX");
  const UniqueFd made(::mkstemp(path.data()));
  if (!made.valid()) return FileError(errno, "make", path);
  const absl::Cleanup remove = [&] { RemoveFile(path).IgnoreError(); };
  SubprocessOptions options;
  options.argv = {program, word};
  options.stdout_path = path;
  ASSIGN_OR_RETURN(Subprocess child, Subprocess::Start(options));
  const auto end = child.WaitFor(kPatience);
  if (!end.has_value() || !end->success()) {
    return absl::UnavailableError(absl::StrCat(program, " ", word,
                                               end.has_value()
                                                   ? absl::StrCat(" ended by ", end->ToString())
                                                   : std::string(" does not end")));
  }
  return ReadFile(path, kMaxAnswerBytes);
}

// By what the machine calls it: of "cuda:1" under CUDA_VISIBLE_DEVICES=4,6 that is 6, of "cuda" 4.
std::string ClaimName(const std::string& gpu) {
  const std::vector<std::string> visible =
      absl::StrSplit(VariableOr("CUDA_VISIBLE_DEVICES", ""), ',', absl::SkipWhitespace());
  size_t place = 0;
  const bool numbered = gpu == "cuda" || absl::SimpleAtoi(absl::StripPrefix(gpu, "cuda:"), &place);
  const std::string name =
      numbered && place < visible.size() ? visible[place] : absl::StrCat(place);
  return absl::StrReplaceAll(name, {{"/", "_"}, {" ", ""}});
}

}  // namespace

std::vector<std::string> EngineDevices::Gpus() const {
  std::vector<std::string> names;
  for (const std::string& device : devices) {
    if (absl::StartsWith(device, "cuda:")) names.push_back(device.substr(0, device.find(' ')));
  }
  return names;
}

std::string EngineDevices::Described(const std::string& name) const {
  for (const std::string& device : devices) {
    if (device == name || absl::StartsWith(device, name + " ")) return device;
  }
  return name;
}

absl::StatusOr<EngineDevices> AskEngineForDevices(const std::string& program) {
  ASSIGN_OR_RETURN(const std::string answer, OutputOf(program, "devices"));
  const absl::StatusOr<nlohmann::json> json = ParseJson(answer);
  EngineDevices found;
  if (json.ok() && json->is_object() && json->contains("devices")) {
    for (const nlohmann::json& device : json->at("devices")) {
      if (device.is_string()) found.devices.push_back(device.get<std::string>());
    }
    found.cuda = json->value("cuda", false);
  }
  if (!found.devices.empty()) return found;
  return absl::UnavailableError(
      absl::StrCat(program, " devices names none: ", Shortened(answer, 200)));
}

DeviceClaim DeviceClaim::Take(const std::string& gpu) {
  DeviceClaim claim;
  const std::string directory =
      JoinPath(VariableOr("TMPDIR", "/tmp"), absl::StrCat("graft-gpus-", ::getuid()));
  CreateDirectories(directory).IgnoreError();
  auto lock = ProcessLock::Acquire(JoinPath(directory, ClaimName(gpu)), gpu, "graft-worker");
  claim.valid_ = !absl::IsFailedPrecondition(lock.status());
  if (lock.ok()) claim.lock_ = *std::move(lock);
  return claim;
}

bool MachineHasGpu() {
  struct stat facts;
  return ::stat("/dev/nvidia0", &facts) == 0 || ::stat("/dev/nvidiactl", &facts) == 0;
}

}  // namespace graft
