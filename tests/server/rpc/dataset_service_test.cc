#include <string>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "common/base/sha256.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/server/rpc/test_server.h"

namespace graft {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class DatasetServiceTest : public ::testing::Test {
 protected:
  absl::StatusOr<v1::PreviewDatasetResponse> Preview(const v1::PreviewDatasetRequest& request) {
    v1::PreviewDatasetResponse response;
    const auto context = CallContext();
    const absl::Status status =
        FromGrpcStatus(server_.datasets().PreviewDataset(context.get(), request, &response));
    if (!status.ok()) return status;
    return response;
  }

  absl::Status Delete(const std::string& name) {
    v1::DeleteDatasetRequest request;
    request.set_name(name);
    google::protobuf::Empty empty;
    const auto context = CallContext();
    return FromGrpcStatus(server_.datasets().DeleteDataset(context.get(), request, &empty));
  }

  absl::StatusOr<v1::Dataset> Get(const std::string& name) {
    v1::GetDatasetRequest request;
    request.set_name(name);
    v1::Dataset dataset;
    const auto context = CallContext();
    const absl::Status status =
        FromGrpcStatus(server_.datasets().GetDataset(context.get(), request, &dataset));
    if (!status.ok()) return status;
    return dataset;
  }

  static v1::PreviewDatasetRequest NewsPreview() {
    v1::PreviewDatasetRequest request;
    request.set_name("news");
    request.set_base_model("tiny");
    request.mutable_data()->set_max_source_tokens(24);
    request.mutable_data()->set_max_target_tokens(16);
    return request;
  }

  TestServer server_;
};

TEST_F(DatasetServiceTest, AnUploadedDataSetIsCountedAndHashed) {
  const auto dataset = server_.Upload("more", NewsRows(7));
  ASSERT_TRUE(dataset.ok()) << dataset.status();
  EXPECT_EQ(dataset->num_rows(), 7);
  EXPECT_EQ(dataset->format(), v1::DATASET_FORMAT_JSON_LINES);
  EXPECT_EQ(dataset->sha256(), Sha256Hex(NewsRows(7)));
  EXPECT_THAT(dataset->fields(), ElementsAre("id", "document", "summary"));
  EXPECT_EQ(Get("more")->size_bytes(), static_cast<int64_t>(NewsRows(7).size()));
}

TEST_F(DatasetServiceTest, CsvIsToldByNameContentOrFormat) {
  const std::string csv = "document,summary\n\"a, b\",c\n";
  v1::UploadDatasetRequest::Metadata metadata;
  EXPECT_EQ(server_.Upload("by-content", csv)->format(), v1::DATASET_FORMAT_CSV);
  metadata.set_file_name("x.csv");
  EXPECT_EQ(server_.Upload("by-name", csv, metadata)->num_rows(), 1);
  metadata.set_file_name("");
  metadata.set_format(v1::DATASET_FORMAT_JSON_LINES);
  EXPECT_EQ(server_.Upload("wrong", csv, metadata).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST_F(DatasetServiceTest, PlainTextIsToldByNameOrFormat) {
  const std::string text = "It rains, it \"pours.\n\nThe sun, shines;\r\n";
  v1::UploadDatasetRequest::Metadata metadata;
  metadata.set_file_name("notes.txt");
  const auto dataset = server_.Upload("by-name", text, metadata);
  ASSERT_TRUE(dataset.ok()) << dataset.status();
  EXPECT_EQ(dataset->format(), v1::DATASET_FORMAT_TEXT);
  EXPECT_EQ(dataset->num_rows(), 2);
  EXPECT_THAT(dataset->fields(), ElementsAre("text"));
  metadata.set_file_name("");
  metadata.set_format(v1::DATASET_FORMAT_TEXT);
  EXPECT_EQ(server_.Upload("by-format", text, metadata)->format(), v1::DATASET_FORMAT_TEXT);
  v1::PreviewDatasetRequest request;
  request.set_name("by-name");
  request.set_base_model("tiny");
  request.mutable_data()->set_text_field("text");
  const auto preview = Preview(request);
  ASSERT_TRUE(preview.ok()) << preview.status();
  ASSERT_EQ(preview->examples_size(), 2);
  EXPECT_EQ(preview->examples(1).line(), 3);
  EXPECT_EQ(preview->examples(1).target(), "The sun, shines;<|endoftext|>");
  metadata.set_format(v1::DATASET_FORMAT_UNSPECIFIED);
  metadata.set_file_name("bad.txt");
  EXPECT_THAT(std::string(server_.Upload("bad", "a\nb\n\xff\n", metadata).status().message()),
              HasSubstr("line 3: invalid UTF-8"));
  EXPECT_EQ(Get("bad").status().code(), absl::StatusCode::kNotFound);
}

TEST_F(DatasetServiceTest, BrokenDataIsRefusedByLineAndNothingStays) {
  struct Case {
    const char* what;
    std::string bytes;
    const char* message;
  };
  const Case cases[] = {
      {"broken line 17", NewsRows(16) + "{\"document\": \n" + NewsRows(3), "line 17"},
      {"no rows", "", "empty"},
      {"only blank lines", "\n\n\n", "empty"},
      {"not UTF-8", NewsRows(2) + "{\"document\": \"\xff\"}\n", "line 3"},
      {"UTF-16", std::string("\xff\xfe{\0\"\0", 6), "UTF-16"},
      {"a JSON list", "[{\"document\": \"a\"}]", "JSON lines"},
      {"no object", NewsRows(1) + "17\n", "line 2"},
      {"CSV of another width", "a,b\n1,2\n1,2,3\n", "line 3"},
  };
  for (const Case& bad : cases) {
    SCOPED_TRACE(bad.what);
    const auto dataset = server_.Upload("bad", bad.bytes);
    EXPECT_EQ(dataset.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(dataset.status().message()), HasSubstr(bad.message));
    EXPECT_THAT(std::string(dataset.status().message()), HasSubstr("bad"));
    EXPECT_EQ(Get("bad").status().code(), absl::StatusCode::kNotFound);
  }
}

TEST_F(DatasetServiceTest, OtherBytesThanAnnouncedAreRefused) {
  v1::UploadDatasetRequest::Metadata metadata;
  metadata.set_size_bytes(5);
  EXPECT_EQ(server_.Upload("bad", NewsRows(3), metadata).status().code(),
            absl::StatusCode::kInvalidArgument);
  metadata.set_size_bytes(0);
  metadata.set_sha256(Sha256Hex("other"));
  EXPECT_EQ(server_.Upload("bad", NewsRows(3), metadata).status().code(),
            absl::StatusCode::kDataLoss);
  metadata.set_sha256("nonsense");
  EXPECT_EQ(server_.Upload("bad", NewsRows(3), metadata).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST_F(DatasetServiceTest, ANameKeepsItsBytes) {
  EXPECT_TRUE(server_.Upload("news", NewsRows(12)).ok()) << "the same again";
  const auto other = server_.Upload("news", NewsRows(13));
  EXPECT_EQ(other.status().code(), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(ReasonOf(other.status()), kReasonNameTaken);
  EXPECT_EQ(Get("news")->num_rows(), 12);
}

TEST_F(DatasetServiceTest, NamesThatLeaveTheDirectoryAreRefused) {
  for (const char* name : {"", "..", ".hidden", "a/b", "../../etc/passwd", "a\nb"}) {
    EXPECT_EQ(server_.Upload(name, NewsRows(1)).status().code(), absl::StatusCode::kInvalidArgument)
        << name;
  }
}

TEST_F(DatasetServiceTest, AnUploadWithoutMetadataIsRefused) {
  const auto context = CallContext();
  v1::Dataset dataset;
  const auto writer = server_.datasets().UploadDataset(context.get(), &dataset);
  v1::UploadDatasetRequest message;
  message.set_data("{}");
  writer->Write(message);
  writer->WritesDone();
  const absl::Status status = FromGrpcStatus(writer->Finish());
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(FieldViolationsOf(status).at(0).field(), "metadata");
}

TEST_F(DatasetServiceTest, AnUploadThatIsGivenUpLeavesNothing) {
  const auto context = CallContext();
  v1::Dataset dataset;
  const auto writer = server_.datasets().UploadDataset(context.get(), &dataset);
  v1::UploadDatasetRequest message;
  message.mutable_metadata()->set_name("half");
  writer->Write(message);
  message.set_data(NewsRows(5));
  writer->Write(message);
  context->TryCancel();
  EXPECT_EQ(FromGrpcStatus(writer->Finish()).code(), absl::StatusCode::kCancelled);
  // After the stream is over on the server too.
  server_.rpc().Stop(absl::Seconds(10));
  EXPECT_EQ(server_.store().GetDataset("half").status().code(), absl::StatusCode::kNotFound);
}

TEST_F(DatasetServiceTest, AnUploadIsFinishedWhileTheServerDrains) {
  const auto context = CallContext();
  v1::Dataset dataset;
  const auto writer = server_.datasets().UploadDataset(context.get(), &dataset);
  v1::UploadDatasetRequest message;
  message.mutable_metadata()->set_name("late");
  writer->Write(message);
  // The first upload is over, this one has begun.
  const auto begun = [&] {
    const std::string text = server_.registry().Text();
    const std::string method = "method=\"DatasetService.UploadDataset\"}";
    return absl::StrContains(text, "graft_rpc_calls_total{code=\"OK\"," + method + " 1") &&
           absl::StrContains(text, "graft_rpc_streams{" + method + " 1");
  };
  while (!begun()) std::this_thread::yield();
  server_.rpc().context().runtime.Drain();
  message.set_data(NewsRows(5));
  writer->Write(message);
  writer->WritesDone();
  const absl::Status status = FromGrpcStatus(writer->Finish());
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_EQ(dataset.num_rows(), 5);
}

TEST_F(DatasetServiceTest, ADataSetInUseIsNotDeleted) {
  const std::string job = server_.Create(LoraJob())->name();
  const absl::Status refused = Delete("news");
  EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(ReasonOf(refused), kReasonInUse);
  ASSERT_TRUE(server_.Cancel(job).ok());
  EXPECT_TRUE(Delete("news").ok());
  EXPECT_EQ(Get("news").status().code(), absl::StatusCode::kNotFound);
}

TEST_F(DatasetServiceTest, ListsInPages) {
  ASSERT_TRUE(server_.Upload("a", NewsRows(1)).ok());
  ASSERT_TRUE(server_.Upload("b", NewsRows(2)).ok());
  std::vector<std::string> names;
  v1::ListDatasetsRequest request;
  request.set_page_size(2);
  do {
    v1::ListDatasetsResponse response;
    const auto context = CallContext();
    ASSERT_TRUE(server_.datasets().ListDatasets(context.get(), request, &response).ok());
    for (const v1::Dataset& dataset : response.datasets()) names.push_back(dataset.name());
    request.set_page_token(response.next_page_token());
  } while (!request.page_token().empty());
  EXPECT_THAT(names, ::testing::UnorderedElementsAre("a", "b", "news"));
}

TEST_F(DatasetServiceTest, APreviewShowsIdsLabelsAndCuts) {
  v1::PreviewDatasetRequest request = NewsPreview();
  request.set_num_rows(2);
  const auto preview = Preview(request);
  ASSERT_TRUE(preview.ok()) << preview.status();
  ASSERT_EQ(preview->examples_size(), 2);
  const auto& example = preview->examples(0);
  EXPECT_EQ(example.line(), 1);
  EXPECT_EQ(example.prompt(), "Article 1 tells.\nTL;DR:");
  EXPECT_EQ(example.target(), " Short 1<|endoftext|>");
  // One token a byte, and the end of text.
  EXPECT_EQ(example.num_prompt_tokens(), 23);
  EXPECT_EQ(example.ids_size(), 23 + 8 + 1);
  EXPECT_EQ(example.ids(23), ' ');
  EXPECT_EQ(example.source_tokens_cut(), 0);
  request.mutable_data()->set_max_source_tokens(20);
  EXPECT_EQ(Preview(request)->examples(0).source_tokens_cut(), 3);
}

TEST_F(DatasetServiceTest, APreviewListsTheBadRowsBehindTheFirst) {
  std::string rows = NewsRow(1) + "{\"document\": null, \"summary\": \"a\"}\n" + NewsRow(3);
  for (int i = 0; i < 30; ++i) rows += "{\"document\": \"a\", \"summary\": 7}\n";
  ASSERT_TRUE(server_.Upload("odd", rows).ok());
  v1::PreviewDatasetRequest request = NewsPreview();
  request.set_name("odd");
  request.set_num_rows(1);
  EXPECT_TRUE(Preview(request).ok()) << "no further than it is asked for";
  request.set_num_rows(2);
  const absl::Status status = Preview(request).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  const auto problems = FieldViolationsOf(status);
  ASSERT_EQ(problems.size(), 21u);
  EXPECT_EQ(problems[0].field(), "name");
  EXPECT_THAT(problems[0].description(), HasSubstr("line 2: field \"document\" is null"));
  EXPECT_THAT(problems[1].description(), HasSubstr("line 4: field \"summary\" is a number"));
  EXPECT_THAT(problems[19].description(), HasSubstr("line 22: "));
  EXPECT_THAT(problems[20].description(), HasSubstr("and 11 more"));
}

TEST_F(DatasetServiceTest, APreviewOfPlainTextMakesEveryTokenALabel) {
  v1::PreviewDatasetRequest request;
  request.set_name("news");
  request.set_base_model("tiny");
  request.mutable_data()->set_text_field("summary");
  const auto preview = Preview(request);
  ASSERT_TRUE(preview.ok()) << preview.status();
  EXPECT_EQ(preview->examples_size(), 3);
  EXPECT_EQ(preview->examples(0).num_prompt_tokens(), 0);
  EXPECT_EQ(preview->examples(0).target(), "Short 1<|endoftext|>");
}

TEST_F(DatasetServiceTest, BadPreviewsAreRefusedByField) {
  struct Case {
    void (*change)(v1::PreviewDatasetRequest&);
    absl::StatusCode code;
    const char* field;
  };
  const Case cases[] = {
      {[](v1::PreviewDatasetRequest& request) { request.set_name("olds"); },
       absl::StatusCode::kNotFound, "name"},
      {[](v1::PreviewDatasetRequest& request) { request.set_base_model("gpt5"); },
       absl::StatusCode::kNotFound, "base_model"},
      {[](v1::PreviewDatasetRequest& request) { request.set_num_rows(21); },
       absl::StatusCode::kInvalidArgument, "num_rows"},
      {[](v1::PreviewDatasetRequest& request) { request.mutable_data()->set_source_field("body"); },
       absl::StatusCode::kInvalidArgument, "data.source_field"},
      {[](v1::PreviewDatasetRequest& request) {
         request.mutable_data()->set_prompt_template("none");
       },
       absl::StatusCode::kInvalidArgument, "data.prompt_template"},
  };
  for (const Case& bad : cases) {
    v1::PreviewDatasetRequest request = NewsPreview();
    bad.change(request);
    const auto preview = Preview(request);
    EXPECT_EQ(preview.status().code(), bad.code) << preview.status();
    ASSERT_FALSE(FieldViolationsOf(preview.status()).empty()) << bad.field;
    EXPECT_EQ(FieldViolationsOf(preview.status())[0].field(), bad.field);
  }
}

}  // namespace
}  // namespace graft
