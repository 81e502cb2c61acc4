#pragma once

// Calls of the services for HTTP clients, over the in-process channel. Each goes on by itself until
// its exchange is answered.

#include <memory>
#include <string>

#include "google/protobuf/message.h"
#include "grpcpp/generic/generic_stub.h"
#include "server/http/exchange.h"
#include "server/http/routes.h"
#include "server/http/stream_answers.h"
#include "server/http/upload_messages.h"

namespace graft {

// `stub` outlives the calls. Whose call it is for admission and logs, `exchange` says.
void CallUnary(grpc::GenericStub& stub, const Route& route,
               const google::protobuf::Message& request, std::shared_ptr<Exchange> exchange);
void CallServerStream(grpc::GenericStub& stub, const Route& route,
                      const google::protobuf::Message& request, Exchange& exchange,
                      std::shared_ptr<StreamAnswer> answer);
// Sends `first`, and then what `body` makes of the request's body, as fast as the service takes it.
void CallUpload(grpc::GenericStub& stub, const Route& route, const google::protobuf::Message& first,
                std::unique_ptr<UploadMessages> body, std::shared_ptr<Exchange> exchange);

}  // namespace graft
