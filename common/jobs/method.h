#pragma once

#include <string>

#include "common/methods/method_spec.h"
#include "graft/v1/spec.pb.h"

namespace graft {

// What an evaluate job of several adapters needs a worker to know, named beside the methods.
inline constexpr char kSeveralAdapters[] = "several_adapters";

// What a job's method is called: MethodName of it; "evaluate" for evaluate jobs.
std::string MethodName(const v1::JobSpec& spec);

}  // namespace graft
