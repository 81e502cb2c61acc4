#pragma once

// The schema's steps, embedded from schema/NNNN_*.sql. The n-th brings a database from version n-1
// to version n (PRAGMA user_version). A step that was released is never changed.

#include <vector>

namespace graft {

const std::vector<const char*>& SchemaSteps();

}  // namespace graft
