// Lists jobs of a graft-server, a page after the other. Prints one JSON line: the times of the
// pages, by what was asked for. parts/store.py sets a server up for it.

#include <CLI/CLI.hpp>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "bench/load.h"
#include "graft/v1/job.grpc.pb.h"
#include "grpcpp/grpcpp.h"

namespace graft {
namespace {

struct Asked {
  const char* what;
  const char* filter;
  const char* order;
};
constexpr Asked kAsked[] = {{"newest", "", "create_time desc"},
                            {"oldest", "", "create_time"},
                            {"first_in_the_queue", "state = \"QUEUED\"", "priority desc"},
                            {"of_a_label", "labels.team = \"7\"", "create_time desc"},
                            {"of_nobody", "labels.team = \"nobody\"", "create_time desc"}};

int Run(const std::string& server, int pages) {
  const auto stub =
      v1::JobService::NewStub(grpc::CreateChannel(server, grpc::InsecureChannelCredentials()));
  nlohmann::ordered_json result;
  for (const Asked& asked : kAsked) {
    Times times;
    v1::ListJobsRequest request;
    request.set_filter(asked.filter);
    request.set_order_by(asked.order);
    for (int page = 0; page < pages; ++page) {
      v1::ListJobsResponse response;
      grpc::ClientContext context;
      const absl::Duration sent = BoottimeNow();
      const grpc::Status status = stub->ListJobs(&context, request, &response);
      times.Add(BoottimeNow() - sent);
      if (!status.ok()) {
        std::fprintf(stderr, "ListJobs: %s\n", status.error_message().c_str());
        return 1;
      }
      request.set_page_token(response.next_page_token());  // After the last: the first.
    }
    result[asked.what] = {{"p50_ms", times.QuantileMs(0.5)}, {"p99_ms", times.QuantileMs(0.99)}};
  }
  std::printf("%s\n", result.dump().c_str());
  return 0;
}

}  // namespace
}  // namespace graft

int main(int argc, char** argv) {
  std::string server;
  int pages = 1000;
  CLI::App app("Lists jobs of a graft-server, a page after the other.");
  app.add_option("--server", server, "HOST:PORT")->required();
  app.add_option("--pages", pages, "of each kind");
  CLI11_PARSE(app, argc, argv);
  return graft::Run(server, pages);
}
