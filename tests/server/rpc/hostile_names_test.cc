#include <sys/inotify.h>
#include <unistd.h>

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "common/base/unique_fd.h"
#include "gmock/gmock.h"
#include "graft/v1/study.grpc.pb.h"
#include "gtest/gtest.h"
#include "tests/server/rpc/worker_service_fixture.h"

namespace graft {
namespace {

constexpr size_t kPromisedNames = 500;

// Who opens, makes or removes anything in a directory while this is there.
class Guarded {
 public:
  explicit Guarded(const std::string& directory)
      : inotify_(::inotify_init1(IN_NONBLOCK | IN_CLOEXEC)) {
    EXPECT_GE(::inotify_add_watch(
                  inotify_.get(), directory.c_str(),
                  IN_OPEN | IN_ACCESS | IN_CREATE | IN_DELETE | IN_MOVE | IN_MODIFY | IN_ATTRIB),
              0);
  }
  bool Touched() {
    char event[4096];
    return ::read(inotify_.get(), event, sizeof(event)) > 0;
  }

 private:
  UniqueFd inotify_;
};

// Names that lead out of whatever directory they are joined to, or to `outside` itself, in the ways
// that are tried; and such as only look like names.
std::vector<std::string> HostileNames(const std::string& outside) {
  std::vector<std::string> names = {"",
                                    ".",
                                    "..",
                                    "...",
                                    "/",
                                    "//",
                                    ".hidden",
                                    "~",
                                    "~root",

                                    "a b",
                                    "a\nb",
                                    "a\tb",
                                    "*",
                                    "a?",
                                    "$HOME",
                                    "`id`",
                                    ";id",
                                    "a|b",
                                    "a:b",
                                    "C:\\x",
                                    "\\\\host\\share",
                                    "a\\b",
                                    "\u202Etxt",
                                    "\uFF0E\uFF0E/x",
                                    std::string("a\0b", 3),
                                    std::string(129, 'a'),
                                    std::string(100'000, 'a'),
                                    std::string(3000, '/')};
  const std::string folder = outside.substr(outside.rfind('/') + 1);
  const std::vector<std::string> separators = {"/", "\\", "//", "/./", "%2f", "\u2215", "\n/"};
  for (const std::string& target : {std::string("secret"), folder + "/secret"}) {
    for (const char* begin : {"", "/", "./", "news/", "jobs/a/"}) {
      for (const std::string& separator : separators) {
        std::string up = begin;
        for (int depth = 1; depth <= 8; ++depth) {
          up += ".." + separator;
          names.push_back(up + target);
        }
      }
    }
  }
  for (const std::string& end : {std::string(), std::string("/"), std::string("/../secret"),
                                 std::string("\0", 1), std::string(" ")}) {
    names.push_back(outside + "/secret" + end);
    names.push_back("file://" + outside + "/secret" + end);
    names.push_back("/proc/self/root" + outside + "/secret" + end);
  }
  return names;
}

class HostileNamesTest : public WorkerServiceFixture {
 protected:
  using Verb = std::function<absl::Status(const std::string&)>;

  // A call with `name` in the request's field.
  template <typename Stub, typename Request, typename Response>
  Verb Unary(Stub& stub,
             grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
             std::function<void(Request&, const std::string&)> fill) {
    return [&stub, method, fill = std::move(fill)](const std::string& name) {
      Request request;
      fill(request, name);
      Response response;
      const auto context = CallContext();
      return FromGrpcStatus((stub.*method)(context.get(), request, &response));
    };
  }
  template <typename Stub, typename Request, typename Response>
  Verb Unary(Stub& stub,
             grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*)) {
    return Unary<Stub, Request, Response>(
        stub, method, [](Request& request, const std::string& name) { request.set_name(name); });
  }
  template <typename Stub, typename Request, typename Response>
  Verb Reading(Stub& stub,
               std::unique_ptr<grpc::ClientReader<Response>> (Stub::*method)(grpc::ClientContext*,
                                                                             const Request&),
               std::function<void(Request&, const std::string&)> fill) {
    return [&stub, method, fill = std::move(fill)](const std::string& name) {
      Request request;
      fill(request, name);
      const auto context = CallContext();
      const auto reader = (stub.*method)(context.get(), request);
      Response response;
      EXPECT_FALSE(reader->Read(&response)) << name;
      return FromGrpcStatus(reader->Finish());
    };
  }
  template <typename Stub, typename Request, typename Response>
  Verb Reading(Stub& stub,
               std::unique_ptr<grpc::ClientReader<Response>> (Stub::*method)(grpc::ClientContext*,
                                                                             const Request&)) {
    return Reading<Stub, Request, Response>(
        stub, method, [](Request& request, const std::string& name) { request.set_name(name); });
  }
  // An upload of a file: `path` is the chunk's, where there is one.
  template <typename Stub, typename Request, typename Response>
  Verb Sending(Stub& stub,
               std::unique_ptr<grpc::ClientWriter<Request>> (Stub::*method)(grpc::ClientContext*,
                                                                            Response*),
               std::function<std::vector<Request>(const std::string&)> messages) {
    return [&stub, method, messages = std::move(messages)](const std::string& name) {
      const auto context = CallContext();
      Response response;
      const auto writer = (stub.*method)(context.get(), &response);
      for (const Request& message : messages(name)) {
        if (!writer->Write(message)) break;
      }
      writer->WritesDone();
      return FromGrpcStatus(writer->Finish());
    };
  }

  std::map<std::string, Verb> UserVerbs();
  std::map<std::string, Verb> StudyVerbs();
  std::map<std::string, Verb> Uploads();
  std::map<std::string, Verb> SpecFields();
  std::map<std::string, Verb> WorkerVerbs();

  const std::unique_ptr<v1::StudyService::Stub> studies_ =
      v1::StudyService::NewStub(server_.channel());
};

std::map<std::string, HostileNamesTest::Verb> HostileNamesTest::UserVerbs() {
  using Jobs = v1::JobService::Stub;
  using Adapters = v1::AdapterService::Stub;
  using Datasets = v1::DatasetService::Stub;
  using Models = v1::ModelService::Stub;
  Jobs& jobs = server_.jobs();
  Adapters& adapters = server_.adapters();
  Datasets& datasets = server_.datasets();
  return {
      {"GetJob", Unary(jobs, &Jobs::GetJob)},
      {"CancelJob", Unary(jobs, &Jobs::CancelJob)},
      {"PauseJob", Unary(jobs, &Jobs::PauseJob)},
      {"ResumeJob", Unary(jobs, &Jobs::ResumeJob)},
      {"CheckpointJob", Unary(jobs, &Jobs::CheckpointJob)},
      {"RetryJob", Unary(jobs, &Jobs::RetryJob)},
      {"DeleteJob", Unary(jobs, &Jobs::DeleteJob)},
      {"ListJobCheckpoints", Unary(jobs, &Jobs::ListJobCheckpoints)},
      {"PinJobCheckpoint", Unary(jobs, &Jobs::PinJobCheckpoint)},
      {"ListJobArtifacts", Unary(jobs, &Jobs::ListJobArtifacts)},
      {"WatchJob", Reading(jobs, &Jobs::WatchJob)},
      {"DownloadJobCheckpoint", Reading(jobs, &Jobs::DownloadJobCheckpoint)},
      {"DownloadJobArtifact", Reading(jobs, &Jobs::DownloadJobArtifact)},
      {"ReadJobLog", Reading<Jobs, v1::ReadJobLogRequest, v1::JobLogChunk>(
                         jobs, &Jobs::ReadJobLog,
                         [](auto& request, const std::string& name) {
                           request.set_name(name);
                           request.set_stream(v1::JOB_LOG_STREAM_ENGINE);
                         })},
      {"GetAdapter", Unary(adapters, &Adapters::GetAdapter)},
      {"DeleteAdapter", Unary(adapters, &Adapters::DeleteAdapter)},
      {"DownloadAdapter", Reading(adapters, &Adapters::DownloadAdapter)},
      {"MergeAdapter", Reading(adapters, &Adapters::MergeAdapter)},
      {"GetDataset", Unary(datasets, &Datasets::GetDataset)},
      {"DeleteDataset", Unary(datasets, &Datasets::DeleteDataset)},
      {"PreviewDataset", Unary<Datasets, v1::PreviewDatasetRequest, v1::PreviewDatasetResponse>(
                             datasets, &Datasets::PreviewDataset,
                             [](auto& request, const std::string& name) {
                               request.set_name(name);
                               request.set_base_model("tiny");
                             })},
      {"GetModel", Unary(server_.models(), &Models::GetModel)},
      {"DeleteModel", Unary(server_.models(), &Models::DeleteModel)},
  };
}

std::map<std::string, HostileNamesTest::Verb> HostileNamesTest::StudyVerbs() {
  using Studies = v1::StudyService::Stub;
  Studies& studies = *studies_;
  return {
      {"GetStudy", Unary(studies, &Studies::GetStudy)},
      {"PauseStudy", Unary(studies, &Studies::PauseStudy)},
      {"ResumeStudy", Unary(studies, &Studies::ResumeStudy)},
      {"CancelStudy", Unary(studies, &Studies::CancelStudy)},
      {"DeleteStudy", Unary(studies, &Studies::DeleteStudy)},
      {"WatchStudy", Reading(studies, &Studies::WatchStudy)},
      {"CreateStudy", Unary<Studies, v1::CreateStudyRequest, v1::Study>(
                          studies, &Studies::CreateStudy,
                          [](auto& request, const std::string& name) {
                            v1::Study& study = *request.mutable_study();
                            *study.mutable_spec_template() = LoraJob().job().spec();
                            study.set_output_name(name);
                            if (name.empty()) study.clear_spec_template();
                          })},
  };
}

std::map<std::string, HostileNamesTest::Verb> HostileNamesTest::Uploads() {
  const auto chunk_of = [](const std::string& path) {
    v1::FileChunk chunk;
    chunk.set_path(path);
    chunk.set_size_bytes(1);
    chunk.set_data("x");
    return chunk;
  };
  using Adapters = v1::AdapterService::Stub;
  using Models = v1::ModelService::Stub;
  const auto model = [chunk_of](const std::string& name, const std::string& path) {
    std::vector<v1::ImportModelRequest> messages(2);
    messages[0].mutable_metadata()->set_name(name);
    *messages[1].mutable_chunk() = chunk_of(path);
    return messages;
  };
  const auto adapter = [chunk_of](const std::string& name, const std::string& path) {
    std::vector<v1::ImportAdapterRequest> messages(2);
    messages[0].mutable_metadata()->set_name(name);
    messages[0].mutable_metadata()->set_base_model("tiny");
    *messages[1].mutable_chunk() = chunk_of(path);
    return messages;
  };
  return {
      {"UploadDataset",
       [this](const std::string& name) { return server_.Upload(name, NewsRows(1)).status(); }},
      {"ImportModel: name",
       Sending<Models, v1::ImportModelRequest, v1::Model>(
           server_.models(), &Models::ImportModel,
           [model](const std::string& name) { return model(name, "config.json"); })},
      {"ImportModel: path", Sending<Models, v1::ImportModelRequest, v1::Model>(
                                server_.models(), &Models::ImportModel,
                                [model](const std::string& path) { return model("mine", path); })},
      {"ImportAdapter: name",
       Sending<Adapters, v1::ImportAdapterRequest, v1::Adapter>(
           server_.adapters(), &Adapters::ImportAdapter,
           [adapter](const std::string& name) { return adapter(name, "adapter_config.json"); })},
      {"ImportAdapter: path",
       Sending<Adapters, v1::ImportAdapterRequest, v1::Adapter>(
           server_.adapters(), &Adapters::ImportAdapter,
           [adapter](const std::string& path) { return adapter("mine", path); })},
  };
}

// Where a spec names something; an empty one means a default there.
std::map<std::string, HostileNamesTest::Verb> HostileNamesTest::SpecFields() {
  const auto create = [this](std::function<void(v1::FineTuneSpec&, const std::string&)> set) {
    return [this, set = std::move(set)](const std::string& name) {
      v1::CreateJobRequest request = LoraJob();
      set(*request.mutable_job()->mutable_spec()->mutable_fine_tune(), name);
      if (name.empty()) request.mutable_job()->clear_spec();
      return server_.Create(request).status();
    };
  };
  return {
      {"base_model", create([](auto& spec, auto& name) { spec.set_base_model(name); })},
      {"init_from", create([](auto& spec, auto& name) { spec.set_init_from(name); })},
      {"output_name", create([](auto& spec, auto& name) { spec.set_output_name(name); })},
      {"train", create([](auto& spec, auto& name) { spec.mutable_data()->set_train(name); })},
      {"validation",
       create([](auto& spec, auto& name) { spec.mutable_data()->set_validation(name); })},
  };
}

std::map<std::string, HostileNamesTest::Verb> HostileNamesTest::WorkerVerbs() {
  using Workers = worker::v1::WorkerService::Stub;
  Workers& stub = worker_.stub();
  return {
      {"Connect", Reading<Workers, worker::v1::ConnectRequest, worker::v1::Command>(
                      stub, &Workers::Connect,
                      [](auto& request, const std::string& name) {
                        request.mutable_worker()->set_id(name);
                        request.mutable_worker()->set_instance("i");
                      })},
      {"FetchBlob", Reading<Workers, worker::v1::FetchBlobRequest, worker::v1::BlobChunk>(
                        stub, &Workers::FetchBlob,
                        [](auto& request, const std::string& name) { request.set_sha256(name); })},
      {"UploadBlob",
       [this](const std::string& name) {
         v1::Artifact lie;
         lie.set_sha256(name);
         lie.set_size_bytes(1);
         return worker_.UploadBlobAs(lie, "x");
       }},
      {"AppendLog",
       [this](const std::string& name) { return worker_.AppendLog(name, 1, 0, "x").status(); }},
  };
}

TEST_F(HostileNamesTest, NoNameLeavesTheDirectories) {
  const TempDir outside;
  ASSERT_TRUE(WriteFileAtomically(outside.Path("secret"), "outside").ok());
  const std::vector<std::string> names = HostileNames(outside.path());
  ASSERT_GE(names.size(), kPromisedNames);
  Guarded guarded(outside.path());
  int calls = 0;
  for (const auto& verbs : {UserVerbs(), StudyVerbs(), Uploads(), SpecFields(), WorkerVerbs()}) {
    for (const auto& [what, verb] : verbs) {
      for (const std::string& name : names) {
        const absl::Status status = verb(name);
        ++calls;
        EXPECT_TRUE(absl::IsInvalidArgument(status) || absl::IsNotFound(status))
            << what << " of \"" << name.substr(0, 200) << "\": " << status;
      }
      ASSERT_FALSE(HasFailure()) << what;
    }
  }
  EXPECT_FALSE(guarded.Touched());
  RecordProperty("names", static_cast<int>(names.size()));
  RecordProperty("calls", calls);
  // It does notice.
  EXPECT_TRUE(ReadFile(outside.Path("secret"), 100).ok());
  EXPECT_TRUE(guarded.Touched());
  // And nothing came of any of them.
  EXPECT_EQ(server_.store().ListJobs({})->items.size(), 0u);
  EXPECT_THAT(*ListDirectory(server_.directory().path()),
              testing::UnorderedElementsAre("artifacts", "models", "models.json", "workers.sock"));
}

// What a worker says of a job that it does hold: the paths of its files.
TEST_F(HostileNamesTest, NoPathOfAResultLeavesTheDirectories) {
  const TempDir outside;
  Guarded guarded(outside.path());
  const v1::Artifact file = worker_.UploadBlob("x", "x");
  for (const std::string& name : HostileNames(outside.path())) {
    ASSERT_TRUE(server_.Create(LoraJob()).ok());
    const auto lease = worker_.Lease(absl::StrCat("r", Sha256Hex(name)));
    ASSERT_TRUE(lease.ok() && !lease->job().empty());
    worker::v1::FinishAttemptRequest end = Succeeded({file});
    end.mutable_succeeded()->mutable_output(0)->set_path(name);
    const auto state = worker_.Finish(*lease, 0, end);
    EXPECT_TRUE(!state.ok() || *state == v1::JOB_STATE_FAILED) << name;
    if (!state.ok()) {
      ASSERT_TRUE(server_.Cancel(lease->job()).ok());
      worker::v1::FinishAttemptRequest cancelled;
      cancelled.mutable_cancelled();
      ASSERT_TRUE(worker_.Finish(*lease, 0, cancelled).ok());
    }
  }
  EXPECT_FALSE(guarded.Touched());
  EXPECT_THAT(*ListDirectory(server_.directory().Path("artifacts/adapters")),
              testing::Not(testing::Contains(testing::HasSubstr("secret"))));
}

}  // namespace
}  // namespace graft
