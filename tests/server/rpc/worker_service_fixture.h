#pragma once

// A server, a worker of it, and what the worker says when its job is done.

#include <string>
#include <vector>

#include "common/base/file.h"
#include "gtest/gtest.h"
#include "tests/server/rpc/fake_worker.h"
#include "tests/server/rpc/imported_adapters.h"
#include "tests/server/rpc/test_server.h"

namespace graft {

class WorkerServiceFixture : public ::testing::Test {
 protected:
  // Files of a real adapter of the tiny model, uploaded.
  std::vector<v1::Artifact> UploadAdapter() {
    const std::string folder = WriteLora(server_.directory(), 8);
    const std::vector<std::string> paths = *ListDirectory(folder);
    std::vector<v1::Artifact> files;
    for (const std::string& path : paths) {
      files.push_back(worker_.UploadBlob(path, *ReadFile(JoinPath(folder, path), 1 << 20)));
    }
    return files;
  }

  static worker::v1::FinishAttemptRequest Succeeded(const std::vector<v1::Artifact>& output) {
    worker::v1::FinishAttemptRequest request;
    auto* succeeded = request.mutable_succeeded();
    for (const v1::Artifact& file : output) *succeeded->add_output() = file;
    succeeded->mutable_result()->set_best_step(2);
    succeeded->mutable_result()->set_trainable_parameters(128);
    (*succeeded->mutable_result()->mutable_metrics())["eval/loss"] = 1.5;
    succeeded->set_peft_snippet("from peft import PeftModel");
    return request;
  }

  TestServer server_;
  FakeWorker worker_{server_};
};

}  // namespace graft
