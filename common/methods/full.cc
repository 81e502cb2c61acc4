#include "common/methods/full.h"

#include "common/errors/field_checks.h"
#include "graft/v1/spec.pb.h"

namespace graft {

void Full::Check(const v1::Method& method, const FieldScope& scope) const {
  const v1::Full& full = method.full();
  if (full.has_learning_rate()) scope.Positive("learning_rate", full.learning_rate());
}

}  // namespace graft
