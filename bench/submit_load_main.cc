// Submits jobs to a graft-server as fast as it takes them: one call in flight on each of some
// connections. Prints one JSON line: rate, times, and what a submit cost the server's processor.
// bench/submit_load.py sets a server up for it.

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/time.h"
#include "common/base/clock.h"
#include "graft/v1/job.grpc.pb.h"
#include "grpcpp/grpcpp.h"

namespace graft {
namespace {

struct Load {
  std::string server;
  int connections = 64;
  double seconds = 10;
  int server_pid = 0;  // 0: its processor time is not told.
};

absl::Duration ProcessorTimeOf(int pid) {
  std::ifstream file(absl::StrCat("/proc/", pid, "/stat"));
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  // The name in brackets may hold anything; utime and stime are the 12th and 13th after it.
  const std::vector<std::string> fields =
      absl::StrSplit(text.substr(std::min(text.size(), text.rfind(')') + 2)), ' ');
  int64_t user = 0;
  int64_t system = 0;
  if (fields.size() < 13 || !absl::SimpleAtoi(fields[11], &user) ||
      !absl::SimpleAtoi(fields[12], &system)) {
    return absl::ZeroDuration();
  }
  return absl::Seconds(1) * (user + system) / sysconf(_SC_CLK_TCK);
}

v1::CreateJobRequest SmallJob() {
  v1::CreateJobRequest request;
  request.mutable_job()->set_display_name("load");
  v1::FineTuneSpec& spec = *request.mutable_job()->mutable_spec()->mutable_fine_tune();
  spec.set_base_model("tiny");
  spec.mutable_data()->set_train("train");
  spec.mutable_data()->set_validation("valid");
  spec.mutable_method()->mutable_lora();
  spec.mutable_training()->set_max_steps(6);
  return request;
}

// A connection with its one call.
struct Caller {
  std::unique_ptr<v1::JobService::Stub> stub;
  std::unique_ptr<grpc::ClientContext> context;
  std::unique_ptr<grpc::ClientAsyncResponseReader<v1::Job>> call;
  v1::Job answer;
  grpc::Status status;
  absl::Duration sent;
};

class Loader {
 public:
  explicit Loader(const Load& load) : load_(load), request_(SmallJob()) {
    for (int i = 0; i < load.connections; ++i) {
      grpc::ChannelArguments arguments;
      arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
      callers_.emplace_back().stub = v1::JobService::NewStub(
          grpc::CreateCustomChannel(load.server, grpc::InsecureChannelCredentials(), arguments));
    }
  }

  // For some time; false: a call failed, and stderr says why.
  bool Run(absl::Duration time) {
    times_ms_.clear();
    const absl::Duration end = Now() + time;
    for (Caller& caller : callers_) Send(caller);
    void* tag = nullptr;
    bool ok = false;
    bool all_ok = true;
    for (size_t in_flight = callers_.size(); in_flight > 0 && queue_.Next(&tag, &ok);) {
      Caller& caller = *static_cast<Caller*>(tag);
      times_ms_.push_back(absl::ToDoubleMilliseconds(Now() - caller.sent));
      if (!caller.status.ok() && all_ok) {
        std::fprintf(stderr, "%s\n", caller.status.error_message().c_str());
        all_ok = false;
      }
      if (all_ok && Now() < end) {
        Send(caller);
      } else {
        --in_flight;
      }
    }
    std::sort(times_ms_.begin(), times_ms_.end());
    return all_ok;
  }

  size_t calls() const { return times_ms_.size(); }
  double QuantileMs(double share) const {
    return times_ms_[static_cast<size_t>(share * static_cast<double>(times_ms_.size() - 1))];
  }
  static absl::Duration Now() { return Clock::Real().Boottime(); }

 private:
  void Send(Caller& caller) {
    caller.context = std::make_unique<grpc::ClientContext>();
    request_.set_request_id(absl::StrCat("load-", getpid(), "-", ++sent_));
    caller.sent = Now();
    caller.call = caller.stub->AsyncCreateJob(caller.context.get(), request_, &queue_);
    caller.call->Finish(&caller.answer, &caller.status, &caller);
  }

  const Load load_;
  v1::CreateJobRequest request_;
  grpc::CompletionQueue queue_;
  std::vector<Caller> callers_;
  std::vector<double> times_ms_;
  int64_t sent_ = 0;
};

int Run(const Load& load) {
  Loader loader(load);
  // The connections are made, and the server's statements prepared.
  if (!loader.Run(absl::Milliseconds(500))) return 1;
  const absl::Duration server_before = ProcessorTimeOf(load.server_pid);
  const absl::Duration own_before = ProcessorTimeOf(getpid());
  const absl::Duration begin = Loader::Now();
  if (!loader.Run(absl::Seconds(load.seconds))) return 1;
  const absl::Duration took = Loader::Now() - begin;
  const auto calls = static_cast<double>(loader.calls());
  nlohmann::ordered_json result = {
      {"submits_per_second", calls / absl::ToDoubleSeconds(took)},
      {"p50_ms", loader.QuantileMs(0.5)},
      {"p99_ms", loader.QuantileMs(0.99)},
      {"client_cores", absl::FDivDuration(ProcessorTimeOf(getpid()) - own_before, took)}};
  if (load.server_pid > 0) {
    const absl::Duration spent = ProcessorTimeOf(load.server_pid) - server_before;
    result["server_cores"] = absl::FDivDuration(spent, took);
    result["server_cpu_ms_per_1000_submits"] = absl::ToDoubleMilliseconds(spent) * 1000 / calls;
  }
  std::printf("%s\n", result.dump().c_str());
  return 0;
}

}  // namespace
}  // namespace graft

int main(int argc, char** argv) {
  graft::Load load;
  CLI::App app("Submits jobs to a graft-server as fast as it takes them.");
  app.add_option("--server", load.server, "HOST:PORT")->required();
  app.add_option("--connections", load.connections, "each with one call in flight");
  app.add_option("--seconds", load.seconds);
  app.add_option("--server-pid", load.server_pid, "to tell the server's processor time");
  CLI11_PARSE(app, argc, argv);
  return graft::Run(load);
}
