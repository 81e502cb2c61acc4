#include <algorithm>
#include <filesystem>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_join.h"
#include "common/base/file.h"
#include "common/formats/adapter_parts.h"
#include "common/jobs/method.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/server/rpc/fake_worker.h"
#include "tests/server/rpc/test_server.h"

namespace graft {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using worker::v1::Command;

// Writes a PEFT directory of a LoRA of rank 2 on c_attn, for a model of width `width`, with the
// modules that the names mean saved whole.
std::string WriteLora(const TempDir& directory, int64_t width,
                      const std::vector<std::string>& saved = {}) {
  AdapterParts parts;
  parts.lora = AdapterParts::Lora{.rank = 2};
  Gpt2Config gpt2 = TinyConfig();
  gpt2.n_embd = width;
  gpt2.n_inner = 4 * width;
  parts.saved_modules = *ResolveSavedModules(saved, gpt2);
  std::vector<TensorInfo> tensors;
  for (TensorShape& tensor : SavedModuleTensors(parts.saved_modules, gpt2)) {
    tensors.push_back({std::move(tensor.name), DType::kF32, std::move(tensor.shape)});
  }
  for (int layer = 0; layer < 2; ++layer) {
    const std::string module = absl::StrCat("h.", layer, ".attn.c_attn");
    tensors.push_back({module + ".lora_A", DType::kF32, {2, width}});
    tensors.push_back({module + ".lora_B", DType::kF32, {3 * width, 2}});
  }
  std::vector<std::byte> buffer(1 << 16, std::byte{0x3f});  // floats of 0.75
  const auto source = [&](const TensorInfo& tensor) -> absl::StatusOr<std::span<const std::byte>> {
    ASSIGN_OR_RETURN(const int64_t bytes, TensorSizeBytes(tensor.dtype, tensor.shape));
    return std::span<const std::byte>(buffer.data(), bytes);
  };
  const std::string folder =
      directory.Path(absl::StrCat("lora", width, "-", absl::StrJoin(saved, "-")));
  const auto written = WriteAdapter(folder, gpt2, parts, tensors, source, {.base_model_name = "x"});
  EXPECT_TRUE(written.ok()) << written.status();
  return folder;
}

// And of a soft prompt.
std::string WritePrompt(const TempDir& directory, int64_t tokens = 2) {
  AdapterParts parts;
  parts.num_virtual_tokens = tokens;
  const std::vector<std::byte> zeros(tokens * 8 * sizeof(float));
  const std::string folder = directory.Path(absl::StrCat("prompt", tokens));
  const auto written = WriteAdapter(
      folder, TinyConfig(), parts, {{kSoftPromptTensor, DType::kF32, {tokens, 8}}},
      [&](const TensorInfo&) -> absl::StatusOr<std::span<const std::byte>> { return zeros; }, {});
  EXPECT_TRUE(written.ok()) << written.status();
  return folder;
}

class AdapterServiceTest : public ::testing::Test {
 protected:
  absl::StatusOr<v1::Adapter> Import(const std::string& name, const std::string& base_model,
                                     const std::string& folder) {
    const auto context = CallContext();
    v1::Adapter adapter;
    const auto writer = server_.adapters().ImportAdapter(context.get(), &adapter);
    v1::ImportAdapterRequest message;
    message.mutable_metadata()->set_name(name);
    message.mutable_metadata()->set_base_model(base_model);
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
    return adapter;
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

class GenerateTest : public AdapterServiceTest {
 protected:
  struct Call {
    std::unique_ptr<grpc::ClientContext> context = CallContext();
    std::unique_ptr<grpc::ClientReader<v1::GenerateResponse>> reader;

    std::string ReadAll() {
      std::string text;
      v1::GenerateResponse response;
      while (reader->Read(&response)) text += response.text();
      return text;
    }
    absl::Status Finish() { return FromGrpcStatus(reader->Finish()); }
  };

  Call Generate(const v1::GenerateRequest& request) {
    Call call;
    call.reader = server_.adapters().Generate(call.context.get(), request);
    return call;
  }

  static v1::GenerateRequest Prompt() {
    v1::GenerateRequest request;
    request.set_base_model("tiny");
    request.set_prompt("Once");
    return request;
  }

  // Serves one text as a worker does.
  absl::Status Serve(FakeWorker& worker, const std::string& id,
                     const std::vector<std::string>& pieces, const absl::Status& error = {}) {
    const auto context = CallContext();
    google::protobuf::Empty empty;
    const auto writer = worker.stub().ReportGeneration(context.get(), &empty);
    worker::v1::ReportGenerationRequest message;
    message.set_id(id);
    *message.mutable_worker() = worker.identity();
    for (size_t i = 0; i < pieces.size(); ++i) {
      message.mutable_response()->set_text(pieces[i]);
      message.mutable_response()->set_done(error.ok() && i + 1 == pieces.size());
      writer->Write(message);
    }
    if (!error.ok()) {
      *message.mutable_error() = ToRpcStatus(error);
      writer->Write(message);
    }
    writer->WritesDone();
    return FromGrpcStatus(writer->Finish());
  }
};

TEST_F(GenerateTest, WithoutWorkersItIsUnavailable) {
  Call call = Generate(Prompt());
  EXPECT_EQ(call.Finish().code(), absl::StatusCode::kUnavailable);
}

TEST_F(GenerateTest, TokensComeFromAnIdleWorker) {
  FakeWorker worker(server_);
  worker.Connect();
  Call call = Generate(Prompt());
  const Command command = worker.NextCommand(Command::kGenerate);
  EXPECT_EQ(command.generate().request().prompt(), "Once");
  EXPECT_GT(command.generate().base_model().files_size(), 0);
  ASSERT_TRUE(Serve(worker, command.generate().id(), {" upon", " a", " time"}).ok());
  EXPECT_EQ(call.ReadAll(), " upon a time");
  EXPECT_TRUE(call.Finish().ok());
}

TEST_F(GenerateTest, AnAdapterBringsItsBaseModel) {
  ASSERT_TRUE(Import("theirs", "tiny", WriteLora(server_.directory(), 8)).ok());
  FakeWorker worker(server_);
  worker.Connect();
  v1::GenerateRequest request = Prompt();
  request.clear_base_model();
  request.set_adapter("theirs");
  Call call = Generate(request);
  const Command command = worker.NextCommand(Command::kGenerate);
  EXPECT_EQ(command.generate().request().base_model(), "tiny");
  EXPECT_GT(command.generate().adapter().files_size(), 0);
  ASSERT_TRUE(Serve(worker, command.generate().id(), {"x"}).ok());
  EXPECT_EQ(call.ReadAll(), "x");
}

TEST_F(GenerateTest, TheEnginesErrorReachesTheUser) {
  FakeWorker worker(server_);
  worker.Connect();
  Call call = Generate(Prompt());
  const Command command = worker.NextCommand(Command::kGenerate);
  ASSERT_TRUE(Serve(worker, command.generate().id(), {" upon"},
                    absl::ResourceExhaustedError("out of memory"))
                  .ok());
  EXPECT_EQ(call.ReadAll(), " upon");
  const absl::Status end = call.Finish();
  EXPECT_EQ(end.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(end.message(), "out of memory");
}

TEST_F(GenerateTest, TooManyAreRefusedWithATimeToRetry) {
  FakeWorker worker(server_);
  worker.Connect();
  std::vector<Call> calls;
  calls.push_back(Generate(Prompt()));
  const Command command = worker.NextCommand(Command::kGenerate);  // The only slot is taken.
  ASSERT_TRUE(command.has_generate());
  for (int i = 0; i < 3; ++i) calls.push_back(Generate(Prompt()));
  // Two may wait; one of the three is refused, whichever came last.
  while (server_.rpc().context().broker.queued() < 2) std::this_thread::yield();
  ASSERT_TRUE(Serve(worker, command.generate().id(), {"x"}).ok());
  for (int i = 0; i < 2; ++i) {
    const Command next = worker.NextCommand(Command::kGenerate);
    ASSERT_TRUE(Serve(worker, next.generate().id(), {"x"}).ok());
  }
  int refused = 0;
  for (Call& call : calls) {
    call.ReadAll();
    const absl::Status end = call.Finish();
    if (end.ok()) continue;
    ++refused;
    EXPECT_EQ(end.code(), absl::StatusCode::kResourceExhausted);
    EXPECT_GT(RetryDelayOf(end), absl::ZeroDuration());
  }
  EXPECT_LE(refused, 1);
}

TEST_F(GenerateTest, AUserWhoGoesAwayStopsTheWorker) {
  FakeWorker worker(server_);
  worker.Connect();
  Call call = Generate(Prompt());
  const Command command = worker.NextCommand(Command::kGenerate);
  call.context->TryCancel();
  EXPECT_EQ(worker.NextCommand(Command::kCancelGenerate).cancel_generate().id(),
            command.generate().id());
  EXPECT_EQ(call.Finish().code(), absl::StatusCode::kCancelled);
  const absl::Status told = Serve(worker, command.generate().id(), {"x"});
  EXPECT_EQ(told.code(), absl::StatusCode::kNotFound);
}

TEST_F(GenerateTest, HowMuchIsLeftOpenIsTheEnginesToSay) {
  FakeWorker worker(server_);
  worker.Connect();
  Call call = Generate(Prompt());  // 64 positions: fewer than the default of long models.
  const Command command = worker.NextCommand(Command::kGenerate);
  EXPECT_FALSE(command.generate().request().has_max_new_tokens());
  ASSERT_TRUE(Serve(worker, command.generate().id(), {"x"}).ok());
  EXPECT_EQ(call.ReadAll(), "x");
}

TEST_F(GenerateTest, TheRoomIsWhatTheSoftPromptLeaves) {
  ASSERT_TRUE(Import("prompt", "tiny", WritePrompt(server_.directory(), 60)).ok());
  v1::GenerateRequest request = Prompt();
  request.set_adapter("prompt");
  request.set_max_new_tokens(4);
  Call call = Generate(request);
  EXPECT_THAT(
      std::string(call.Finish().message()),
      HasSubstr("max_new_tokens: is 4; tiny has 64 positions, less the adapter's 60 virtual "
                "tokens, for the prompt and what follows; must be 1 to 3"));
  ASSERT_TRUE(Import("whole", "tiny", WritePrompt(server_.directory(), 63)).ok());
  request.set_adapter("whole");
  request.clear_max_new_tokens();
  call = Generate(request);
  EXPECT_THAT(std::string(call.Finish().message()),
              HasSubstr("adapter: tiny has 64 positions, less the adapter's 63 virtual tokens: a "
                        "prompt and what follows it need 2"));
}

TEST_F(GenerateTest, BadRequestsAreRefusedByField) {
  struct Case {
    void (*change)(v1::GenerateRequest&);
    absl::StatusCode code;
    const char* field;
  };
  const Case cases[] = {
      {[](v1::GenerateRequest& request) { request.clear_base_model(); },
       absl::StatusCode::kInvalidArgument, "base_model"},
      {[](v1::GenerateRequest& request) { request.set_base_model("gpt5"); },
       absl::StatusCode::kNotFound, "base_model"},
      {[](v1::GenerateRequest& request) { request.set_adapter("nobody"); },
       absl::StatusCode::kNotFound, "adapter"},
      {[](v1::GenerateRequest& request) { request.clear_prompt(); },
       absl::StatusCode::kInvalidArgument, "prompt"},
      {[](v1::GenerateRequest& request) { request.set_max_new_tokens(0); },
       absl::StatusCode::kInvalidArgument, "max_new_tokens"},
      {[](v1::GenerateRequest& request) { request.set_max_new_tokens(64); },
       absl::StatusCode::kInvalidArgument, "max_new_tokens"},
      {[](v1::GenerateRequest& request) { request.mutable_generation()->set_top_p(2); },
       absl::StatusCode::kInvalidArgument, "generation.top_p"},
      {[](v1::GenerateRequest& request) {
         request.mutable_generation()->set_do_sample(true);
         request.mutable_generation()->set_num_beams(4);
       },
       absl::StatusCode::kInvalidArgument, "generation.num_beams"},
  };
  for (const Case& bad : cases) {
    v1::GenerateRequest request = Prompt();
    bad.change(request);
    Call call = Generate(request);
    const absl::Status end = call.Finish();
    EXPECT_EQ(end.code(), bad.code) << end;
    ASSERT_FALSE(FieldViolationsOf(end).empty()) << bad.field;
    EXPECT_EQ(FieldViolationsOf(end)[0].field(), bad.field);
  }
}

}  // namespace
}  // namespace graft
