#include <string>
#include <vector>

#include "common/base/file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/server/rpc/test_server.h"

namespace graft {
namespace {

using ::testing::HasSubstr;

class ModelServiceTest : public ::testing::Test {
 protected:
  absl::StatusOr<v1::Model> Import(const std::string& name, const std::string& folder) {
    const auto context = CallContext();
    v1::Model model;
    const auto writer = server_.models().ImportModel(context.get(), &model);
    v1::ImportModelRequest message;
    message.mutable_metadata()->set_name(name);
    writer->Write(message);
    const std::vector<std::string> paths = *ListDirectory(folder);
    for (const std::string& path : paths) {
      v1::FileChunk* chunk = message.mutable_chunk();
      chunk->set_path(path);
      chunk->set_data(*ReadFile(JoinPath(folder, path), 1 << 20));
      chunk->set_size_bytes(static_cast<int64_t>(chunk->data().size()));
      if (!writer->Write(message)) break;
    }
    writer->WritesDone();
    const absl::Status status = FromGrpcStatus(writer->Finish());
    if (!status.ok()) return status;
    return model;
  }

  absl::Status Delete(const std::string& name) {
    v1::DeleteModelRequest request;
    request.set_name(name);
    google::protobuf::Empty empty;
    const auto context = CallContext();
    return FromGrpcStatus(server_.models().DeleteModel(context.get(), request, &empty));
  }

  std::string Folder(unsigned char value) {
    const std::string folder = server_.directory().Path(absl::StrCat("folder", int{value}));
    EXPECT_TRUE(WriteTinyModel(folder, value).ok());
    return folder;
  }

  // INVALID_ARGUMENT's; empty: none is named.
  static std::string FieldOf(const absl::Status& status) {
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
    const auto violations = FieldViolationsOf(status);
    return violations.empty() ? "" : violations[0].field();
  }

  TestServer server_;
};

TEST_F(ModelServiceTest, FoldersInModelsAreKnownFromTheStart) {
  v1::ListModelsResponse response;
  const auto context = CallContext();
  ASSERT_TRUE(server_.models().ListModels(context.get(), {}, &response).ok());
  ASSERT_EQ(response.models_size(), 1);
  const v1::Model& model = response.models(0);
  EXPECT_EQ(model.name(), "tiny");
  EXPECT_EQ(model.n_layer(), 2);
  EXPECT_EQ(model.vocab_size(), 257);
  EXPECT_EQ(model.dtype(), "F32");
  EXPECT_TRUE(model.tied_head());
  EXPECT_EQ(model.num_parameters(), Gpt2ParameterCount(TinyConfig()));
}

TEST_F(ModelServiceTest, AnImportedModelIsCheckedKnownAndShown) {
  const auto model = Import("second", Folder(1));
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ(model->n_embd(), 8);
  EXPECT_TRUE(FileExists(server_.directory().Path("artifacts/models/second/config.json")));
  EXPECT_EQ(Import("second", Folder(1))->sha256(), model->sha256()) << "the same again";
  EXPECT_EQ(Import("second", Folder(2)).status().code(), absl::StatusCode::kAlreadyExists);
}

TEST_F(ModelServiceTest, BrokenFoldersAreRefusedByWhatIsWrong) {
  const std::string folder = Folder(1);
  const std::string weights = JoinPath(folder, "model.safetensors");
  const std::string bytes = *ReadFile(weights, 1 << 20);
  ASSERT_TRUE(WriteFileAtomically(weights, bytes.substr(0, bytes.size() - 100)).ok());
  absl::StatusOr<v1::Model> model = Import("bad", folder);
  EXPECT_EQ(FieldOf(model.status()), "chunk");
  EXPECT_THAT(std::string(model.status().message()), HasSubstr("model.safetensors"));

  // A tensor by another name is one that is missing.
  std::string renamed = bytes;
  const size_t at = renamed.find("transformer.h.1.mlp.c_fc.bias");
  ASSERT_NE(at, std::string::npos);
  renamed.replace(at, 29, "transformer.h.1.mlp.c_xx.bias");
  ASSERT_TRUE(WriteFileAtomically(weights, renamed).ok());
  model = Import("bad", folder);
  EXPECT_EQ(FieldOf(model.status()), "chunk");
  EXPECT_THAT(std::string(model.status().message()), HasSubstr("h.1.mlp.c_fc.bias"));

  ASSERT_TRUE(RemoveFile(JoinPath(folder, "config.json")).ok());
  model = Import("bad", folder);
  EXPECT_EQ(FieldOf(model.status()), "chunk");
  EXPECT_THAT(std::string(model.status().message()), HasSubstr("config.json"));
  EXPECT_EQ(server_.store().GetModel("bad").status().code(), absl::StatusCode::kNotFound);
  EXPECT_FALSE(DirectoryExists(server_.directory().Path("artifacts/models/bad")));
}

TEST_F(ModelServiceTest, PiecesThatMakeNoFolderAreRefused) {
  struct Case {
    std::vector<v1::FileChunk> chunks;
    const char* field;
  };
  const auto chunk = [](const std::string& path, int64_t size, const std::string& data) {
    v1::FileChunk made;
    made.set_path(path);
    made.set_size_bytes(size);
    made.set_data(data);
    return made;
  };
  const Case cases[] = {
      {{}, "chunk"},
      {{chunk("", 0, "x")}, "chunk.path"},
      {{chunk("../config.json", 1, "x")}, "chunk.path"},
      {{chunk("/etc/passwd", 1, "x")}, "chunk.path"},
      {{chunk("a", 1, "x"), chunk("a", 1, "x")}, "chunk.path"},
      {{chunk("a", -1, "x")}, "chunk.size_bytes"},
  };
  for (const Case& bad : cases) {
    SCOPED_TRACE(bad.field);
    const auto context = CallContext();
    v1::Model model;
    const auto writer = server_.models().ImportModel(context.get(), &model);
    v1::ImportModelRequest message;
    message.mutable_metadata()->set_name("bad");
    writer->Write(message);
    for (const v1::FileChunk& piece : bad.chunks) {
      *message.mutable_chunk() = piece;
      if (!writer->Write(message)) break;
    }
    writer->WritesDone();
    const absl::Status status = FromGrpcStatus(writer->Finish());
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    ASSERT_FALSE(FieldViolationsOf(status).empty()) << status;
    EXPECT_EQ(FieldViolationsOf(status)[0].field(), bad.field);
  }
}

TEST_F(ModelServiceTest, AModelInUseIsNotDeleted) {
  const std::string job = server_.Create(LoraJob())->name();
  EXPECT_EQ(ReasonOf(Delete("tiny")), kReasonInUse);
  ASSERT_TRUE(server_.Cancel(job).ok());
  EXPECT_TRUE(Delete("tiny").ok());
  EXPECT_EQ(Delete("tiny").code(), absl::StatusCode::kNotFound);
}

TEST_F(ModelServiceTest, AChangedFolderReplacesAModelThatNobodyUses) {
  const std::string before = server_.store().GetModel("tiny")->sha256();
  const std::string models = server_.directory().Path("models");
  const std::string cache = server_.directory().Path("models.json");
  ImportModelFolders(server_.store(), server_.blobs(), models, cache);
  EXPECT_EQ(server_.store().GetModel("tiny")->sha256(), before);
  ASSERT_TRUE(WriteTinyModel(JoinPath(models, "tiny"), 3).ok());
  ImportModelFolders(server_.store(), server_.blobs(), models, cache);
  EXPECT_NE(server_.store().GetModel("tiny")->sha256(), before);
}

TEST_F(ModelServiceTest, AFolderLeavesAModelThatCameFromElsewhereAlone) {
  ASSERT_TRUE(Import("mine", Folder(3)).ok());
  const std::string before = server_.store().GetModel("mine")->sha256();
  const std::string models = server_.directory().Path("models");
  ASSERT_TRUE(WriteTinyModel(JoinPath(models, "mine"), 4).ok());
  for (int start = 0; start < 2; ++start) {
    ImportModelFolders(server_.store(), server_.blobs(), models,
                       server_.directory().Path("models.json"));
    EXPECT_EQ(server_.store().GetModel("mine")->sha256(), before);
  }
}

}  // namespace
}  // namespace graft
