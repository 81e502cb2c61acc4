#pragma once

#include <string>

#include "graft/v1/study.grpc.pb.h"
#include "server/rpc/data_judge.h"
#include "server/rpc/service_context.h"

namespace graft {

// graft.v1.StudyService on a JobStore. Thread-safe; the context outlives it.
class StudyService final : public v1::StudyService::CallbackService {
 public:
  explicit StudyService(ServiceContext& context) : context_(context) {}

  grpc::ServerUnaryReactor* CreateStudy(grpc::CallbackServerContext* call,
                                        const v1::CreateStudyRequest* request,
                                        v1::Study* response) override;
  grpc::ServerUnaryReactor* GetStudy(grpc::CallbackServerContext* call,
                                     const v1::GetStudyRequest* request,
                                     v1::Study* response) override;
  grpc::ServerUnaryReactor* ListStudies(grpc::CallbackServerContext* call,
                                        const v1::ListStudiesRequest* request,
                                        v1::ListStudiesResponse* response) override;
  grpc::ServerWriteReactor<v1::WatchStudyResponse>* WatchStudy(
      grpc::CallbackServerContext* call, const v1::WatchStudyRequest* request) override;
  grpc::ServerUnaryReactor* PauseStudy(grpc::CallbackServerContext* call,
                                       const v1::PauseStudyRequest* request,
                                       v1::Study* response) override;
  grpc::ServerUnaryReactor* ResumeStudy(grpc::CallbackServerContext* call,
                                        const v1::ResumeStudyRequest* request,
                                        v1::Study* response) override;
  grpc::ServerUnaryReactor* CancelStudy(grpc::CallbackServerContext* call,
                                        const v1::CancelStudyRequest* request,
                                        v1::Study* response) override;
  grpc::ServerUnaryReactor* DeleteStudy(grpc::CallbackServerContext* call,
                                        const v1::DeleteStudyRequest* request,
                                        google::protobuf::Empty* response) override;

 private:
  absl::StatusOr<v1::Study> Create(const v1::CreateStudyRequest& request, const DataJudge& judge);
  absl::Status Delete(const std::string& name);

  ServiceContext& context_;
};

}  // namespace graft
