#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/serving/generation_request.h"
#include "tests/server/rpc/fake_worker.h"
#include "tests/server/rpc/imported_adapters.h"
#include "tests/server/rpc/test_server.h"

namespace graft {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::UnorderedElementsAre;
using worker::v1::Command;

// A worker's report of a batch, message by message.
class Report {
 public:
  Report(FakeWorker& worker, const std::string& id)
      : writer_(worker.stub().ReportGeneration(context_.get(), &empty_)) {
    message_.set_id(id);
    *message_.mutable_worker() = worker.identity();
  }
  void Write(int row, const std::string& text, bool done) {
    message_.set_row(row);
    message_.mutable_response()->set_text(text);
    message_.mutable_response()->set_done(done);
    writer_->Write(message_);
  }
  void Fail(int row, const absl::Status& error) {
    message_.set_row(row);
    *message_.mutable_error() = ToRpcStatus(error);
    writer_->Write(message_);
  }
  absl::Status End() {
    writer_->WritesDone();
    return FromGrpcStatus(writer_->Finish());
  }

 private:
  std::unique_ptr<grpc::ClientContext> context_ = CallContext();
  google::protobuf::Empty empty_;
  std::unique_ptr<grpc::ClientWriter<worker::v1::ReportGenerationRequest>> writer_;
  worker::v1::ReportGenerationRequest message_;
};

class GenerateBatchTest : public ::testing::Test {
 protected:
  explicit GenerateBatchTest(size_t max_waiting_texts = kMaxBatchTexts)
      : server_({.max_waiting_texts = max_waiting_texts}) {}

  static void Connect(FakeWorker& worker) {
    worker::v1::ConnectRequest hello;
    hello.set_batches_texts(true);
    worker.Connect(1, hello);
  }

  // Of the prompts, on "tiny".
  static v1::GenerateBatchRequest Asked(const std::vector<std::string>& prompts) {
    v1::GenerateBatchRequest batch;
    for (const std::string& prompt : prompts) {
      batch.add_requests()->set_base_model("tiny");
      batch.mutable_requests()->rbegin()->set_prompt(prompt);
    }
    return batch;
  }

  struct Call {
    std::unique_ptr<grpc::ClientContext> context = CallContext();
    std::unique_ptr<grpc::ClientReader<v1::GenerateBatchResponse>> reader;

    // "row/sequence text", "row/sequence! message".
    std::vector<std::string> ReadAll() {
      std::vector<std::string> all;
      v1::GenerateBatchResponse message;
      while (reader->Read(&message)) {
        all.push_back(absl::StrCat(
            message.row(), "/", message.sequence(), message.has_error() ? "! " : " ",
            message.has_error() ? message.error().message() : message.response().text()));
      }
      return all;
    }
    absl::Status Finish() { return FromGrpcStatus(reader->Finish()); }
  };
  Call GenerateBatch(const v1::GenerateBatchRequest& request) {
    Call call;
    call.reader = server_.adapters().GenerateBatch(call.context.get(), request);
    return call;
  }
  absl::Status ErrorOf(const v1::GenerateBatchRequest& request) {
    return GenerateBatch(request).Finish();
  }
  static std::string FieldOf(const absl::Status& status) {
    const auto violations = FieldViolationsOf(status);
    return violations.empty() ? "" : violations[0].field();
  }

  TestServer server_;
};

TEST_F(GenerateBatchTest, TextsOfSeveralAdaptersComeAsTheyAreMade) {
  ASSERT_TRUE(ImportAdapter(server_, "theirs", "tiny", WriteLora(server_.directory(), 8)).ok());
  FakeWorker worker(server_);
  Connect(worker);
  v1::GenerateBatchRequest asked = Asked({"Once", "Twice"});
  asked.mutable_requests(1)->clear_base_model();
  asked.mutable_requests(1)->set_adapter("theirs");
  Call call = GenerateBatch(asked);
  std::map<std::string, Command::Generate> told;
  for (int i = 0; i < 2; ++i) {
    Command command = worker.NextCommand(Command::kGenerate);
    told[command.generate().request().prompt()] = command.generate();
  }
  ASSERT_EQ(told.size(), 2u);
  EXPECT_EQ(told["Once"].id(), told["Twice"].id());
  EXPECT_NE(told["Once"].row(), told["Twice"].row());
  EXPECT_EQ(told["Once"].adapter().files_size(), 0);
  EXPECT_GT(told["Twice"].adapter().files_size(), 0);

  Report report(worker, told["Once"].id());
  report.Write(told["Twice"].row(), "b", false);
  report.Write(told["Once"].row(), "a", true);
  report.Write(told["Twice"].row(), "c", true);
  ASSERT_TRUE(report.End().ok());
  EXPECT_THAT(call.ReadAll(), ElementsAre("1/0 b", "0/0 a", "1/0 c"));
  EXPECT_TRUE(call.Finish().ok());
  EXPECT_THAT(server_.registry().Text(),
              HasSubstr("graft_generate_queue_requests{adapter=\"\"} 0"));
}

TEST_F(GenerateBatchTest, ARowThatFailsEndsNoOther) {
  FakeWorker worker(server_);
  Connect(worker);
  Call call = GenerateBatch(Asked({"Once", "Twice"}));
  const Command command = worker.NextCommand(Command::kGenerate);
  Report report(worker, command.generate().id());
  report.Fail(0, absl::ResourceExhaustedError("out of memory"));
  report.Write(1, "b", true);
  ASSERT_TRUE(report.End().ok());
  EXPECT_THAT(call.ReadAll(), UnorderedElementsAre("0/0! out of memory", "1/0 b"));
  EXPECT_TRUE(call.Finish().ok());
}

TEST_F(GenerateBatchTest, GenerateEndsWithTheFirstErrorOfItsSequences) {
  FakeWorker worker(server_);
  Connect(worker);
  v1::GenerateRequest asked;
  asked.set_base_model("tiny");
  asked.set_prompt("Once");
  asked.mutable_generation()->set_do_sample(true);
  asked.set_num_return_sequences(2);
  const auto context = CallContext();
  const auto reader = server_.adapters().Generate(context.get(), asked);
  const Command command = worker.NextCommand(Command::kGenerate);
  EXPECT_EQ(worker.NextCommand(Command::kGenerate).generate().sequence(), 1);
  Report report(worker, command.generate().id());
  report.Write(1, "b", true);
  v1::GenerateResponse response;
  ASSERT_TRUE(reader->Read(&response));
  EXPECT_EQ(response.sequence(), 1);
  report.Fail(0, absl::ResourceExhaustedError("out of memory"));
  EXPECT_FALSE(reader->Read(&response));
  EXPECT_EQ(FromGrpcStatus(reader->Finish()).message(), "out of memory");
  EXPECT_TRUE(report.End().ok());
}

TEST_F(GenerateBatchTest, AnAdapterOfAnotherBaseIsNamed) {
  const std::string other = server_.directory().Path("models/other");
  ASSERT_TRUE(WriteTinyModel(other, 1).ok());
  ImportModelFolders(server_.store(), server_.blobs(), server_.directory().Path("models"),
                     server_.directory().Path("models.json"));
  ASSERT_TRUE(ImportAdapter(server_, "theirs", "tiny", WriteLora(server_.directory(), 8)).ok());
  ASSERT_TRUE(ImportAdapter(server_, "others", "other", WriteLora(server_.directory(), 8)).ok());
  v1::GenerateBatchRequest asked = Asked({"a", "b", "c"});
  asked.mutable_requests(1)->set_adapter("theirs");
  asked.mutable_requests(2)->set_adapter("others");
  asked.mutable_requests(2)->clear_base_model();
  const absl::Status adapter = ErrorOf(asked);
  EXPECT_EQ(adapter.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(FieldOf(adapter), "requests[2].adapter");
  EXPECT_THAT(std::string(adapter.message()), HasSubstr("base model \"other\""));
  asked.mutable_requests(2)->clear_adapter();
  asked.mutable_requests(2)->set_base_model("other");
  EXPECT_EQ(FieldOf(ErrorOf(asked)), "requests[2].base_model");
  // The request alone is wrong.
  asked.mutable_requests(2)->set_adapter("theirs");
  EXPECT_EQ(FieldOf(ErrorOf(asked)), "requests[2].base_model");
}

TEST_F(GenerateBatchTest, ABadRequestIsNamedAndNoneIsServed) {
  FakeWorker worker(server_);
  Connect(worker);
  v1::GenerateBatchRequest asked = Asked({"a", "b", "c", ""});
  EXPECT_EQ(FieldOf(ErrorOf(asked)), "requests[3].prompt");
  asked = Asked({"a", "b"});
  asked.mutable_requests(1)->mutable_generation()->set_top_p(2);
  EXPECT_EQ(FieldOf(ErrorOf(asked)), "requests[1].generation.top_p");
  asked = Asked({"a", "b"});
  asked.mutable_requests(1)->set_adapter("nobody");
  const absl::Status missing = ErrorOf(asked);
  EXPECT_EQ(missing.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(FieldOf(missing), "requests[1].adapter");
  asked = Asked({"a", "b"});
  asked.mutable_requests(0)->set_max_new_tokens(64);
  EXPECT_EQ(FieldOf(ErrorOf(asked)), "requests[0].max_new_tokens");
  EXPECT_EQ(FieldOf(ErrorOf({})), "requests");
  EXPECT_EQ(server_.rpc().context().broker.queued(), 0u);
  EXPECT_THAT(server_.registry().Text(), HasSubstr("graft_worker_slots{state=\"free\"} 1"));
}

TEST_F(GenerateBatchTest, ABatchAboveTheLimitsIsRefused) {
  FakeWorker worker(server_);
  Connect(worker);
  const absl::Status many = ErrorOf(Asked(std::vector<std::string>(kMaxBatchTexts + 1, "x")));
  EXPECT_EQ(many.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(FieldOf(many), "requests");
  EXPECT_THAT(std::string(many.message()), HasSubstr("at most 1024"));

  v1::GenerateBatchRequest asked = Asked(std::vector<std::string>(17, "x"));
  for (v1::GenerateRequest& request : *asked.mutable_requests()) {
    request.mutable_generation()->set_do_sample(true);
    request.set_num_return_sequences(kMaxReturnSequences);
  }
  const absl::Status texts = ErrorOf(asked);
  EXPECT_EQ(texts.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(FieldOf(texts), "requests[16].num_return_sequences");
  EXPECT_THAT(std::string(texts.message()), HasSubstr("1088 texts in all; at most 1024"));
}

TEST_F(GenerateBatchTest, ABatchAtTheLimitIsServed) {
  FakeWorker worker(server_);
  Connect(worker);
  Call call = GenerateBatch(Asked(std::vector<std::string>(kMaxBatchTexts, "x")));
  Command command = worker.NextCommand(Command::kGenerate);
  Report report(worker, command.generate().id());
  std::set<int> rows;
  while (command.has_generate()) {
    EXPECT_TRUE(rows.insert(command.generate().row()).second) << "no row comes twice";
    report.Write(command.generate().row(), "", true);
    command = rows.size() < kMaxBatchTexts ? worker.NextCommand(Command::kGenerate) : Command();
  }
  EXPECT_EQ(rows.size(), static_cast<size_t>(kMaxBatchTexts));
  ASSERT_TRUE(report.End().ok());
  EXPECT_EQ(call.ReadAll().size(), static_cast<size_t>(kMaxBatchTexts));
  EXPECT_TRUE(call.Finish().ok());
}

class GenerateBatchQueueTest : public GenerateBatchTest {
 protected:
  GenerateBatchQueueTest() : GenerateBatchTest(/*max_waiting_texts=*/2) {}
};

TEST_F(GenerateBatchQueueTest, ABatchThatDoesNotFitTheQueueIsRefusedWhole) {
  FakeWorker worker(server_);
  Connect(worker);
  const absl::Status status = ErrorOf(Asked({"a", "b", "c"}));
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(server_.rpc().context().broker.queued(), 0u);
}

}  // namespace
}  // namespace graft
