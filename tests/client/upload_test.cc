#include "client/upload.h"

#include <map>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/sha256.h"
#include "gmock/gmock.h"
#include "grpcpp/create_channel.h"
#include "grpcpp/server_builder.h"
#include "gtest/gtest.h"
#include "tests/fakes/temp_dir.h"

namespace graft {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

// Has of each file what the test says; each question takes the next answer, the last one stays.
class FakeUploads : public v1::UploadService::Service {
 public:
  grpc::Status QueryUpload(grpc::ServerContext*, const v1::QueryUploadRequest* request,
                           v1::QueryUploadResponse* response) override {
    if (!known) return grpc::Status(grpc::StatusCode::UNIMPLEMENTED, "an old server");
    std::vector<int64_t>& answers = received[request->sha256()];
    if (answers.empty()) return grpc::Status::OK;
    response->set_received_bytes(answers.front());
    if (answers.size() > 1) answers.erase(answers.begin());
    return grpc::Status::OK;
  }

  bool known = true;
  std::map<std::string, std::vector<int64_t>> received;  // By hash.
};

class UploadTest : public ::testing::Test {
 protected:
  UploadTest() {
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(&fake_);
    server_ = builder.BuildAndStart();
    stub_ = v1::UploadService::NewStub(
        grpc::CreateChannel(absl::StrCat("127.0.0.1:", port), grpc::InsecureChannelCredentials()));
    EXPECT_TRUE(WriteFileAtomically(dir_.Path("a"), "aaaaaaaaaa").ok());
    EXPECT_TRUE(WriteFileAtomically(dir_.Path("b"), "bbbbb").ok());
    files_ = {{"a", dir_.Path("a")}, {"b", dir_.Path("b")}};
    EXPECT_TRUE(HashFiles(files_, {}).ok());
  }

  // Uploads; each try ends with the next of `ends`.
  absl::Status Run(std::vector<absl::Status> ends) {
    size_t tries = 0;
    return Upload(
        *stub_, {absl::Seconds(30), absl::ZeroDuration(), absl::Minutes(1)}, files_,
        [&](const UploadProgress& progress) {
          if (progress.stage == UploadProgress::Stage::kBroken) ++breaks_;
        },
        [&](const std::vector<FileToSend>& files, const auto& on_sent) {
          offsets_.push_back({files[0].offset_bytes, files[1].offset_bytes});
          on_sent(1);
          UploadEnd end;
          end.call = ends.at(tries++);
          return end;
        });
  }

  const TempDir dir_;
  FakeUploads fake_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<v1::UploadService::Stub> stub_;
  std::vector<FileToSend> files_;
  std::vector<std::vector<int64_t>> offsets_;  // Of each try.
  int breaks_ = 0;
};

TEST_F(UploadTest, FilesAreHashedOnce) {
  EXPECT_EQ(files_[0].sha256, Sha256Hex("aaaaaaaaaa"));
  EXPECT_EQ(files_[1].size_bytes, 5);
  std::vector<int64_t> done;
  const auto note = [&](const UploadProgress& progress) { done.push_back(progress.done_bytes); };
  ASSERT_TRUE(HashFiles(files_, note).ok());
  EXPECT_THAT(done, IsEmpty()) << "their hashes are known";
  files_[1].sha256 = "";
  ASSERT_TRUE(HashFiles(files_, note).ok());
  EXPECT_THAT(done, ElementsAre(5));
}

TEST_F(UploadTest, WhatTheServerHasIsNotSent) {
  fake_.received[files_[0].sha256] = {7};
  EXPECT_TRUE(Run({absl::OkStatus()}).ok());
  EXPECT_THAT(offsets_, ElementsAre(ElementsAre(7, 0)));
}

TEST_F(UploadTest, ABrokenOneGoesOnByItselfAndSaysSo) {
  fake_.received[files_[0].sha256] = {0, 4, 10};
  EXPECT_TRUE(
      Run({absl::UnavailableError("gone"), absl::UnavailableError("gone"), absl::OkStatus()}).ok());
  EXPECT_THAT(offsets_, ElementsAre(ElementsAre(0, 0), ElementsAre(4, 0), ElementsAre(10, 0)));
  EXPECT_EQ(breaks_, 2);
}

TEST_F(UploadTest, WhatWasOfNoUseIsSentOnceFromTheBeginning) {
  for (const absl::Status& end : {absl::DataLossError("spoilt"), absl::OutOfRangeError("dropped"),
                                  absl::AbortedError("another sends it")}) {
    offsets_.clear();
    fake_.received[files_[0].sha256] = {7};
    EXPECT_TRUE(Run({end, absl::OkStatus()}).ok());
    EXPECT_THAT(offsets_, ElementsAre(ElementsAre(7, 0), ElementsAre(0, 0)));
    EXPECT_EQ(Run({end, end}), end);
  }
}

TEST_F(UploadTest, WhatWasSentFromTheBeginningAndIsRefusedIsNotSentAgain) {
  EXPECT_EQ(Run({absl::DataLossError("the file changed")}).code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(Run({absl::InvalidArgumentError("line 3")}).code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(UploadTest, AnOlderServerIsSentAll) {
  fake_.known = false;
  EXPECT_TRUE(Run({absl::OkStatus()}).ok());
  EXPECT_THAT(offsets_, ElementsAre(ElementsAre(0, 0)));
}

TEST_F(UploadTest, AnErrorOfALocalFileIsNotTriedAgain) {
  int tries = 0;
  const absl::Status status =
      Upload(*stub_, {absl::Seconds(30), absl::Minutes(1), absl::Minutes(1)}, files_, {},
             [&](const std::vector<FileToSend>&, const auto&) {
               ++tries;
               return UploadEnd{absl::UnavailableError("stale file"), absl::UnavailableError("")};
             });
  EXPECT_EQ(status, absl::UnavailableError("stale file"));
  EXPECT_EQ(tries, 1);
}

}  // namespace
}  // namespace graft
