#pragma once

// Channels to a graft-server: the client's and the worker's alike.

#include <memory>
#include <string>

#include "grpcpp/channel.h"
#include "grpcpp/support/channel_arguments.h"

namespace graft {

// Does not connect yet: the first call does.
std::shared_ptr<grpc::Channel> MakeChannel(const std::string& address);

// What MakeChannel makes them with. An absent server is asked again at least every second, and an
// attempt in a network that swallows packets is given up after three (gRPC's own pauses grow to two
// minutes, longer than a lease). One that vanished without a word is noticed within 50 s: the
// server allows a ping every 5 s.
grpc::ChannelArguments ChannelArgumentsToServer();

}  // namespace graft
