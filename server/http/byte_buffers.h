#pragma once

#include "google/protobuf/message.h"
#include "grpcpp/support/byte_buffer.h"

namespace graft {

grpc::ByteBuffer ToByteBuffer(const google::protobuf::Message& message);
// False: these are no such message's.
bool FromByteBuffer(const grpc::ByteBuffer& buffer, google::protobuf::Message* message);

}  // namespace graft
