#include <unistd.h>

#include <csignal>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/base/mutex.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/client/cli/command_server.h"
#include "tests/fakes/temp_dir.h"

namespace graft {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// Sends one file whatever is asked for; the merge of "prompt" breaks after its first piece.
class FakeAdapters : public v1::AdapterService::Service {
 public:
  grpc::Status DownloadAdapter(grpc::ServerContext* context,
                               const v1::DownloadAdapterRequest* request,
                               grpc::ServerWriter<v1::FileChunk>* writer) override {
    download = *request;
    Send(*writer, "lora/adapter_config.json", "{}");
    if (!on_first_file) return grpc::Status::OK;
    on_first_file();
    MutexLock lock(mutex_);
    while (!context->IsCancelled())
      Clock::Real().WaitUntil(cancelled_, mutex_, Clock::Real().Boottime() + absl::Milliseconds(5));
    return grpc::Status::OK;
  }
  grpc::Status MergeAdapter(grpc::ServerContext*, const v1::MergeAdapterRequest* request,
                            grpc::ServerWriter<v1::FileChunk>* writer) override {
    merge = *request;
    Send(*writer, "config.json", "{}");
    if (request->name() != "prompt") return grpc::Status::OK;
    return grpc::Status(grpc::StatusCode::FAILED_PRECONDITION, "the adapter has a soft prompt");
  }

  std::function<void()> on_first_file;  // After which the download goes on until it is cancelled.
  v1::DownloadAdapterRequest download;
  v1::MergeAdapterRequest merge;

 private:
  static void Send(grpc::ServerWriter<v1::FileChunk>& writer, const std::string& path,
                   const std::string& text) {
    v1::FileChunk chunk;
    chunk.set_path(path);
    chunk.set_size_bytes(static_cast<int64_t>(text.size()));
    chunk.set_data(text);
    writer.Write(chunk);
  }

  Mutex mutex_;
  CondVar cancelled_;
};

// Remembers what is uploaded; has two data sets, each on its page.
class FakeDatasets : public v1::DatasetService::Service {
 public:
  grpc::Status ListDatasets(grpc::ServerContext*, const v1::ListDatasetsRequest* request,
                            v1::ListDatasetsResponse* response) override {
    v1::Dataset& dataset = *response->add_datasets();
    dataset.set_name(request->page_token().empty() ? "news" : request->page_token());
    dataset.set_num_rows(12345);
    dataset.set_size_bytes(1'200'000);
    for (const char* field : {"document", "=1+1"}) dataset.add_fields(field);
    if (request->page_token().empty()) response->set_next_page_token("valid");
    return grpc::Status::OK;
  }
  grpc::Status UploadDataset(grpc::ServerContext*, grpc::ServerReader<v1::UploadDatasetRequest>* in,
                             v1::Dataset*) override {
    v1::UploadDatasetRequest message;
    while (in->Read(&message)) {
      if (message.has_metadata()) names.push_back(message.metadata().name());
    }
    return grpc::Status::OK;
  }

  std::vector<std::string> names;
};

class CatalogueCommandsTest : public ::testing::Test {
 protected:
  absl::Status Run(const std::vector<std::string>& words) {
    server_.context().json = true;
    const auto add = [](CLI::App& app, RunCommand& run) {
      AddAdapterCommands(app, run);
      AddDatasetCommands(app, run);
    };
    return server_.Run(add, words);
  }

  std::string NewFile(const std::string& name) {
    EXPECT_TRUE(WriteFileAtomically(dir_.Path(name), "{}\n").ok());
    return dir_.Path(name);
  }

  TempDir dir_;
  FakeAdapters adapters_;
  FakeDatasets datasets_;
  CommandServer server_{std::vector<grpc::Service*>{&adapters_, &datasets_}};
};

TEST_F(CatalogueCommandsTest, ADownloadAsksForThePeftThatWillRead) {
  const std::string folder = dir_.Path("a");
  ASSERT_TRUE(Run({"adapters", "download", "news", "--to", folder, "--peft-version", "0.10"}).ok());
  EXPECT_EQ(adapters_.download.name(), "news");
  EXPECT_EQ(adapters_.download.peft_version(), "0.10");
  EXPECT_EQ(*ReadFile(JoinPath(folder, "lora/adapter_config.json"), 100), "{}");
  ASSERT_TRUE(Run({"adapters", "download", "news", "--to", dir_.Path("b")}).ok());
  EXPECT_EQ(adapters_.download.peft_version(), "");
}

TEST_F(CatalogueCommandsTest, AListIsPrintedAsIsAskedFor) {
  const auto printed = [this](const std::string& output) {
    ::testing::internal::CaptureStdout();
    EXPECT_TRUE(server_.Run(AddDatasetCommands, {"datasets", "list", "--output", output}).ok());
    return ::testing::internal::GetCapturedStdout();
  };
  EXPECT_EQ(printed("table"),
            "DATASET    ROWS    SIZE  FIELDS          CREATED\n"
            "news     12,345  1.2 MB  document, =1+1  -\n"
            "valid    12,345  1.2 MB  document, =1+1  -\n");
  EXPECT_EQ(printed("csv"),
            "name,num_rows,size_bytes,fields,create_time,sha256\r\n"
            "news,12345,1200000,\"document, =1+1\",,\r\n"
            "valid,12345,1200000,\"document, =1+1\",,\r\n");
  EXPECT_THAT(printed("markdown"), HasSubstr("|\n| news | 12,345 | 1.2 MB | document, =1+1 | - |"));
  EXPECT_THAT(printed("json"), HasSubstr("{\"name\":\"news\","));
  EXPECT_THAT(server_.Run(AddDatasetCommands, {"datasets", "list", "--output", "cvs"}).message(),
              HasSubstr("did you mean csv?"));
}

TEST_F(CatalogueCommandsTest, AMergeNamesItsDtype) {
  ASSERT_TRUE(Run({"adapters", "merge", "news", "--to", dir_.Path("a")}).ok());
  EXPECT_EQ(adapters_.merge.name(), "news");
  EXPECT_EQ(adapters_.merge.dtype(), "");
  EXPECT_TRUE(FileExists(dir_.Path("a/config.json")));
  ASSERT_TRUE(Run({"adapters", "merge", "news", "--to", dir_.Path("b"), "--dtype", "BF16"}).ok());
  EXPECT_EQ(adapters_.merge.dtype(), "BF16");
  EXPECT_THAT(Run({"adapters", "merge", "news", "--to", dir_.Path("c"), "--dtype", "I8"}).message(),
              HasSubstr("--dtype"));
  EXPECT_THAT(Run({"adapters", "merge", "news"}).message(), HasSubstr("--to"));
}

TEST_F(CatalogueCommandsTest, ARefusedMergeLeavesNoFolder) {
  const absl::Status status = Run({"adapters", "merge", "prompt", "--to", dir_.Path("a")});
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_TRUE(ListDirectory(dir_.Path(""))->empty());
}

TEST_F(CatalogueCommandsTest, AnInterruptedDownloadLeavesNoFolderAndSaysNothing) {
  adapters_.on_first_file = [] { kill(getpid(), SIGINT); };
  const absl::Status status = Run({"adapters", "download", "news", "--to", dir_.Path("a")});
  EXPECT_EQ(status.code(), absl::StatusCode::kCancelled);
  EXPECT_TRUE(IsAlreadyPrinted(status));
  EXPECT_TRUE(ListDirectory(dir_.Path(""))->empty());
}

TEST_F(CatalogueCommandsTest, ADataSetIsNamedAfterItsFile) {
  for (const char* file : {"my articles.jsonl", "für  uns.v2.csv", ".a-b_c", "plain.jsonl"}) {
    EXPECT_TRUE(Run({"datasets", "upload", NewFile(file)}).ok()) << file;
  }
  ASSERT_TRUE(Run({"datasets", "upload", NewFile("日本.jsonl"), "--name", "news"}).ok());
  EXPECT_THAT(datasets_.names, ElementsAre("my-articles", "f-r-uns.v2", "a-b_c", "plain", "news"));
  const absl::Status unnamed = Run({"datasets", "upload", NewFile("日本.jsonl")});
  EXPECT_EQ(unnamed.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(unnamed.message()), HasSubstr("--name: "));
}

}  // namespace
}  // namespace graft
