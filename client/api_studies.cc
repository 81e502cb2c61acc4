// ApiClient's calls about studies.

#include "client/calls.h"

namespace graft {

absl::StatusOr<v1::Study> ApiClient::CreateStudy(v1::CreateStudyRequest request) {
  if (request.request_id().empty()) request.set_request_id(NewRequestId());
  return CallOnce(options_, *studies_, &v1::StudyService::Stub::CreateStudy, request);
}

absl::StatusOr<v1::Study> ApiClient::GetStudy(const std::string& name) {
  return Call(options_, *studies_, &v1::StudyService::Stub::GetStudy,
              Named<v1::GetStudyRequest>(name));
}

absl::StatusOr<v1::ListStudiesResponse> ApiClient::ListStudies(
    const v1::ListStudiesRequest& request) {
  return Call(options_, *studies_, &v1::StudyService::Stub::ListStudies, request);
}

absl::StatusOr<v1::Study> ApiClient::PauseStudy(const std::string& name) {
  return CallOnce(options_, *studies_, &v1::StudyService::Stub::PauseStudy,
                  Once<v1::PauseStudyRequest>(name));
}

absl::StatusOr<v1::Study> ApiClient::ResumeStudy(const std::string& name) {
  return CallOnce(options_, *studies_, &v1::StudyService::Stub::ResumeStudy,
                  Once<v1::ResumeStudyRequest>(name));
}

absl::StatusOr<v1::Study> ApiClient::CancelStudy(const std::string& name) {
  return CallOnce(options_, *studies_, &v1::StudyService::Stub::CancelStudy,
                  Once<v1::CancelStudyRequest>(name));
}

absl::Status ApiClient::DeleteStudy(const std::string& name) {
  return CallOnce(options_, *studies_, &v1::StudyService::Stub::DeleteStudy,
                  Once<v1::DeleteStudyRequest>(name))
      .status();
}

absl::Status ApiClient::WatchStudy(
    const std::string& name, int64_t after_sequence,
    const std::function<bool(const v1::WatchStudyResponse&)>& on_message,
    const std::function<void(const absl::Status&)>& on_reconnect) {
  auto request = Named<v1::WatchStudyRequest>(name);
  request.set_after_sequence(after_sequence);
  return Follow(*studies_, &v1::StudyService::Stub::WatchStudy, request, on_message, on_reconnect);
}

}  // namespace graft
