#pragma once

// An engine that serves on a thread of the test, on a tiny model.

#include <sys/socket.h>

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/delimited_stream.h"
#include "common/base/file.h"
#include "common/base/unique_fd.h"
#include "graft/engine/v1/engine.pb.h"
#include "gtest/gtest.h"
#include "tests/common/text/test_files.h"
#include "tests/worker/engine/tiny_model.h"
#include "worker/engine/run/serve.h"

namespace graft {

// An engine on a thread of the test, and its worker's end of the socket.
class ServeTest : public testing::Test {
 protected:
  void SetUp() override {
    int fds[2];
    ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    worker_.Reset(fds[0]);
    engine_.Reset(fds[1]);
    WriteTinyModel(JoinPath(folder_.path(), "model"));
    server_ = std::thread([this] { exit_code_ = Serve(engine_.get(), {"cpu", 1}); });
    writer_ = std::make_unique<DelimitedWriter>(worker_.get());
    reader_ = std::make_unique<DelimitedReader>(worker_.get());
  }
  void TearDown() override {
    engine::v1::EngineCommand command;
    command.mutable_shutdown();
    Send(command);
    server_.join();
    EXPECT_EQ(exit_code_, 0);
  }

  void Send(const engine::v1::EngineCommand& command) {
    ASSERT_TRUE(writer_->Write(command.SerializeAsString()).ok());
  }
  engine::v1::EngineEvent Read() {
    engine::v1::EngineEvent event;
    const absl::StatusOr<std::string> message = reader_->Read();
    EXPECT_TRUE(message.ok()) << message.status();
    EXPECT_TRUE(message.ok() && event.ParseFromString(*message));
    return event;
  }
  // All events of the job up to its Finished (or the last text).
  std::vector<engine::v1::EngineEvent> ReadToEnd(const std::string& job) {
    std::vector<engine::v1::EngineEvent> events;
    for (;;) {
      engine::v1::EngineEvent event = Read();
      if (event.job() != job) continue;
      const bool last = event.has_finished() || event.generated().done();
      events.push_back(std::move(event));
      if (last || HasFailure()) return events;
    }
  }
  std::string Path(const std::string& name) { return JoinPath(folder_.path(), name); }

  // A soft-prompt job of `steps` steps that checks nothing on its way.
  engine::v1::EngineCommand RunCommand(const std::string& job, int steps) {
    std::string rows;
    for (int i = 0; i < 8; ++i) {
      absl::StrAppend(&rows, "{\"document\": \"cats ", i, "\", \"summary\": \"cat\"}\n");
    }
    engine::v1::EngineCommand command;
    command.set_job(job);
    engine::v1::Run& run = *command.mutable_run();
    v1::FineTuneSpec& spec = *run.mutable_resolved_spec()->mutable_fine_tune();
    spec.mutable_method()->mutable_soft_prompt()->set_num_virtual_tokens(2);
    spec.mutable_training()->set_max_steps(steps);
    spec.mutable_training()->set_batch_size(2);
    spec.mutable_training()->set_threads(1);
    spec.mutable_training()->set_precision(v1::PRECISION_FP32);
    spec.mutable_training()->mutable_checkpoint()->set_every_steps(1000000);
    spec.mutable_data()->set_max_source_tokens(20);
    spec.mutable_data()->set_max_target_tokens(8);
    spec.set_output_name("result");
    spec.set_base_model("tiny");
    run.set_base_model_directory(Path("model"));
    run.set_base_model_name("tiny");
    run.set_train_file(folder_.Write("rows.jsonl", rows));
    run.set_work_directory(Path(job));
    run.set_cache_directory(Path("cache"));
    return command;
  }
  engine::v1::EngineCommand About(const std::string& job) {
    engine::v1::EngineCommand command;
    command.set_job(job);
    return command;
  }

  const TemporaryFolder folder_;
  UniqueFd worker_, engine_;
  std::thread server_;
  int exit_code_ = -1;
  std::unique_ptr<DelimitedWriter> writer_;
  std::unique_ptr<DelimitedReader> reader_;
};

}  // namespace graft
