#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "common/base/file.h"
#include "common/jobs/method.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/server/rpc/imported_adapters.h"
#include "tests/server/rpc/test_server.h"

namespace graft {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

class AdapterServiceTest : public ::testing::Test {
 protected:
  absl::StatusOr<v1::Adapter> Import(const std::string& name, const std::string& base_model,
                                     const std::string& folder) {
    return ImportAdapter(server_, name, base_model, folder);
  }

  // All files of a download.
  static absl::Status Receive(grpc::ClientReader<v1::FileChunk>& reader,
                              std::map<std::string, std::string>* files) {
    std::string path;
    int64_t announced = 0;
    v1::FileChunk chunk;
    while (reader.Read(&chunk)) {
      if (!chunk.path().empty()) {
        EXPECT_EQ(static_cast<int64_t>((*files)[path].size()), announced) << path;
        path = chunk.path();
        announced = chunk.size_bytes();
      }
      EXPECT_LE(chunk.data().size(), size_t{1} << 20);
      (*files)[path] += chunk.data();
    }
    EXPECT_EQ(static_cast<int64_t>((*files)[path].size()), announced) << path;
    files->erase("");
    return FromGrpcStatus(reader.Finish());
  }
  absl::Status Download(const std::string& name, const std::string& peft_version,
                        std::map<std::string, std::string>* files) {
    v1::DownloadAdapterRequest request;
    request.set_name(name);
    request.set_peft_version(peft_version);
    const auto context = CallContext();
    return Receive(*server_.adapters().DownloadAdapter(context.get(), request), files);
  }
  absl::Status Merge(const std::string& name, const std::string& dtype,
                     std::map<std::string, std::string>* files) {
    v1::MergeAdapterRequest request;
    request.set_name(name);
    request.set_dtype(dtype);
    const auto context = CallContext();
    return Receive(*server_.adapters().MergeAdapter(context.get(), request), files);
  }

  TestServer server_;
};

TEST_F(AdapterServiceTest, AnImportedAdapterIsCheckedListedAndDownloaded) {
  const std::string folder = WriteLora(server_.directory(), 8);
  const auto adapter = Import("theirs", "tiny", folder);
  ASSERT_TRUE(adapter.ok()) << adapter.status();
  EXPECT_EQ(adapter->method().lora().rank(), 2);
  EXPECT_EQ(adapter->base_model(), "tiny");
  EXPECT_EQ(adapter->trainable_parameters(), 2 * (2 * 8 + 24 * 2));
  EXPECT_TRUE(FileExists(JoinPath(adapter->directory(), "adapter_model.safetensors")));

  v1::ListAdaptersRequest list;
  list.set_filter("base_model = \"tiny\"");
  v1::ListAdaptersResponse listed;
  const auto list_context = CallContext();
  ASSERT_TRUE(server_.adapters().ListAdapters(list_context.get(), list, &listed).ok());
  ASSERT_EQ(listed.adapters_size(), 1);
  EXPECT_EQ(listed.adapters(0).name(), "theirs");

  v1::DownloadAdapterRequest download;
  download.set_name("theirs");
  const auto context = CallContext();
  std::map<std::string, std::string> files;
  ASSERT_TRUE(Receive(*server_.adapters().DownloadAdapter(context.get(), download), &files).ok());
  ASSERT_EQ(files.size(), ListDirectory(folder)->size());
  for (const auto& [name, bytes] : files) {
    EXPECT_EQ(bytes, *ReadFile(JoinPath(folder, name), 1 << 20)) << name;
  }
}

// PEFT can save modules that no method names; the engine evaluates them like any others.
TEST_F(AdapterServiceTest, AnAdapterThatNoMethodTrainsIsImportedButNotBegunWith) {
  for (const char* module : {"ln_1", "c_fc"}) {
    const std::string folder = WriteLora(server_.directory(), 8, {module});
    const auto adapter = Import(module, "tiny", folder);
    ASSERT_TRUE(adapter.ok()) << adapter.status();
    EXPECT_EQ(MethodName(adapter->method()), "lora+last_layers");
    EXPECT_THAT(adapter->init_from_error(), HasSubstr("last_layers trains the last blocks"));
    std::map<std::string, std::string> files;
    EXPECT_TRUE(Merge(module, "", &files).ok());
    EXPECT_TRUE(Download(module, "0.10", &files).ok());

    v1::CreateJobRequest evaluation;
    v1::EvaluateSpec* spec = evaluation.mutable_job()->mutable_spec()->mutable_evaluate();
    spec->set_adapter(module);
    spec->mutable_data()->set_validation("news");
    EXPECT_TRUE(server_.Create(evaluation).ok());
    v1::CreateJobRequest tuning = LoraJob();
    tuning.mutable_job()->mutable_spec()->mutable_fine_tune()->set_init_from(module);
    const absl::Status refused = server_.Create(tuning).status();
    EXPECT_EQ(refused.code(), absl::StatusCode::kInvalidArgument);
    ASSERT_EQ(FieldViolationsOf(refused).size(), 1u) << refused;
    EXPECT_EQ(FieldViolationsOf(refused)[0].field(), "job.spec.fine_tune.init_from");
  }
}

TEST_F(AdapterServiceTest, AnImportedAdapterIsEvaluatedAsItWasTrained) {
  const std::string folder = WriteLora(server_.directory(), 8);
  const std::string graft_json = JoinPath(folder, "graft.json");
  ASSERT_TRUE(WriteFileAtomically(graft_json, R"({"resolved_spec": {"fine_tune": {"data":
      {"prompt_template": "{source} =>", "max_source_tokens": 30, "max_target_tokens": 9}}}})")
                  .ok());
  const auto adapter = Import("theirs", "tiny", folder);
  ASSERT_TRUE(adapter.ok()) << adapter.status();
  EXPECT_EQ(adapter->trained_with().prompt_template(), "{source} =>");
  v1::CreateJobRequest evaluation;
  v1::EvaluateSpec* spec = evaluation.mutable_job()->mutable_spec()->mutable_evaluate();
  spec->set_adapter("theirs");
  spec->mutable_data()->set_validation("news");
  const auto job = server_.Create(evaluation);
  ASSERT_TRUE(job.ok()) << job.status();
  EXPECT_EQ(job->resolved_spec().evaluate().data().max_source_tokens(), 30);

  ASSERT_TRUE(WriteFileAtomically(graft_json, R"({"resolved_spec": {"fine_tune": {"data":
      {"prompt_template": "nowhere"}}}})")
                  .ok());
  const absl::Status refused = Import("broken", "tiny", folder).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(refused.message()),
              HasSubstr("graft.json: resolved_spec.fine_tune.data.prompt_template: "));
}

TEST_F(AdapterServiceTest, ADownloadForAnOldPeftHasItsFields) {
  const std::string folder = WriteLora(server_.directory(), 8);
  ASSERT_TRUE(Import("theirs", "tiny", folder).ok());
  std::map<std::string, std::string> files;
  const absl::Status status = Download("theirs", "0.10", &files);
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_THAT(files["adapter_config.json"], Not(HasSubstr("exclude_modules")));
  const std::vector<std::string> stored = *ListDirectory(folder);
  for (const std::string& name : stored) {
    const bool same = files[name] == *ReadFile(JoinPath(folder, name), 1 << 20);
    EXPECT_EQ(same, name != "adapter_config.json") << name;
  }
}

TEST_F(AdapterServiceTest, AnUnknownPeftIsRefusedByField) {
  ASSERT_TRUE(Import("theirs", "tiny", WriteLora(server_.directory(), 8)).ok());
  std::map<std::string, std::string> files;
  const absl::Status status = Download("theirs", "0.9", &files);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(FieldViolationsOf(status).at(0).field(), "peft_version");
  EXPECT_THAT(std::string(status.message()), HasSubstr("0.10 to 0.21"));
}

TEST_F(AdapterServiceTest, AMergedModelIsAHuggingFaceFolderThatOpens) {
  ASSERT_TRUE(Import("theirs", "tiny", WriteLora(server_.directory(), 8)).ok());
  std::map<std::string, std::string> files;
  const absl::Status status = Merge("theirs", "", &files);
  ASSERT_TRUE(status.ok()) << status;
  const std::string folder = server_.directory().Path("merged");
  ASSERT_TRUE(CreateDirectories(folder).ok());
  std::vector<std::string> names;
  for (const auto& [name, bytes] : files) {
    names.push_back(name);
    ASSERT_TRUE(WriteFileAtomically(JoinPath(folder, name), bytes).ok());
  }
  EXPECT_THAT(names, ElementsAre("config.json", "merges.txt", "model.safetensors", "vocab.json"));
  const auto merged = ModelFolder::Open(folder);
  ASSERT_TRUE(merged.ok()) << merged.status();
  const auto zero = [](const TensorView& tensor) {
    return std::ranges::all_of(tensor.bytes, [](std::byte byte) { return byte == std::byte{0}; });
  };
  // The base is all zeros, the adapter is not.
  EXPECT_FALSE(zero(*merged->Find("h.1.attn.c_attn.weight")));
  EXPECT_TRUE(zero(*merged->Find("h.1.mlp.c_fc.weight")));
}

TEST_F(AdapterServiceTest, AMergeIsRefusedWithWhatIsWrong) {
  ASSERT_TRUE(Import("theirs", "tiny", WriteLora(server_.directory(), 8)).ok());
  std::map<std::string, std::string> files;
  const absl::Status dtype = Merge("theirs", "I32", &files);
  EXPECT_EQ(dtype.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(FieldViolationsOf(dtype).at(0).field(), "dtype");
  EXPECT_EQ(Merge("nobody", "", &files).code(), absl::StatusCode::kNotFound);
  ASSERT_TRUE(Import("prompt", "tiny", WritePrompt(server_.directory())).ok());
  const absl::Status prompt = Merge("prompt", "", &files);
  EXPECT_EQ(prompt.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(prompt.message()), HasSubstr("soft prompt"));
  EXPECT_TRUE(files.empty());
}

TEST_F(AdapterServiceTest, AMergeThatNobodyReadsLeavesNoFiles) {
  ASSERT_TRUE(Import("theirs", "tiny", WriteLora(server_.directory(), 8)).ok());
  const auto everything = [&] {
    std::set<std::string> paths;
    for (const auto& entry :
         std::filesystem::recursive_directory_iterator(server_.directory().Path("artifacts"))) {
      paths.insert(entry.path());
    }
    return paths;
  };
  std::map<std::string, std::string> files;
  ASSERT_TRUE(Merge("theirs", "", &files).ok());  // The directory of the base is made once.
  const std::set<std::string> before = everything();
  v1::MergeAdapterRequest request;
  request.set_name("theirs");
  const auto context = CallContext();
  const auto reader = server_.adapters().MergeAdapter(context.get(), request);
  v1::FileChunk chunk;
  ASSERT_TRUE(reader->Read(&chunk));
  EXPECT_EQ(everything(), before);
  context->TryCancel();
  EXPECT_FALSE(reader->Finish().ok());
  EXPECT_EQ(everything(), before);
}

TEST_F(AdapterServiceTest, AnAdapterOfAnotherWidthIsRefusedByTensor) {
  const auto adapter = Import("wide", "tiny", WriteLora(server_.directory(), 16));
  EXPECT_EQ(adapter.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(adapter.status().message()), HasSubstr("lora_A"));
  EXPECT_EQ(server_.store().GetAdapter("wide").status().code(), absl::StatusCode::kNotFound);
}

TEST_F(AdapterServiceTest, ATruncatedAdapterIsRefusedByFile) {
  const std::string folder = WriteLora(server_.directory(), 8);
  const std::string weights = JoinPath(folder, "adapter_model.safetensors");
  const std::string bytes = *ReadFile(weights, 1 << 20);
  ASSERT_TRUE(WriteFileAtomically(weights, bytes.substr(0, bytes.size() / 2)).ok());
  const auto adapter = Import("half", "tiny", folder);
  EXPECT_EQ(adapter.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(adapter.status().message()), HasSubstr("adapter_model.safetensors"));
}

TEST_F(AdapterServiceTest, AHostileConfigurationIsRefusedByFile) {
  const std::string folder = WriteLora(server_.directory(), 8);
  const std::string deep = std::string(200'000, '[') + std::string(200'000, ']');
  for (const std::string& value : {std::string("1e999"), deep}) {
    const std::string config = absl::StrCat(R"({"peft_type": "LORA", "r": )", value, "}");
    ASSERT_TRUE(WriteFileAtomically(JoinPath(folder, "adapter_config.json"), config).ok());
    const auto adapter = Import("hostile", "tiny", folder);
    EXPECT_EQ(adapter.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(adapter.status().message()), HasSubstr("adapter_config.json"));
  }
}

TEST_F(AdapterServiceTest, AnImportForAnUnknownModelIsRefusedAtOnce) {
  const auto adapter = Import("theirs", "gpt5", WriteLora(server_.directory(), 8));
  EXPECT_EQ(adapter.status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(FieldViolationsOf(adapter.status()).at(0).field(), "metadata.base_model");
}

TEST_F(AdapterServiceTest, ADeletedAdapterLeavesNoDirectory) {
  const auto adapter = Import("theirs", "tiny", WriteLora(server_.directory(), 8));
  ASSERT_TRUE(adapter.ok()) << adapter.status();
  v1::DeleteAdapterRequest request;
  request.set_name("theirs");
  google::protobuf::Empty empty;
  const auto context = CallContext();
  ASSERT_TRUE(server_.adapters().DeleteAdapter(context.get(), request, &empty).ok());
  EXPECT_FALSE(FileExists(JoinPath(adapter->directory(), "adapter_config.json")));
}

}  // namespace
}  // namespace graft
