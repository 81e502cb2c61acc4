#pragma once

// JobStore's verbs about data sets, models and adapters, as functions of one transaction.
// Contracts: job_store.h.

#include "server/store/page_token.h"
#include "server/store/verb_context.h"

namespace graft {

// "data set", "model", "adapter".
const char* KindName(ResourceKind kind);

// NOT_FOUND.
absl::StatusOr<ResourceRow> RequireResource(VerbContext& context, const ResourceRef& ref);
// FAILED_PRECONDITION (IN_USE).
absl::Status CheckUnused(VerbContext& context, const ResourceRef& ref);
// The same, and NOT_FOUND.
absl::Status DoDeleteResource(VerbContext& context, const ResourceRef& ref);

absl::StatusOr<v1::Dataset> DoInsertDataset(VerbContext& context, const v1::Dataset& dataset);
absl::StatusOr<v1::Model> DoInsertModel(VerbContext& context, const v1::Model& model);
absl::StatusOr<v1::Model> DoReplaceModel(VerbContext& context, absl::string_view sha256,
                                         const v1::Model& model);
absl::StatusOr<v1::Adapter> DoInsertAdapter(VerbContext& context, const v1::Adapter& adapter);

// The same without asking whether a job that is not done will publish the name: it is that job.
absl::Status PublishModel(VerbContext& context, const v1::Model& model);
absl::Status PublishAdapter(VerbContext& context, const v1::Adapter& adapter);

// StoreOperations::NamersOf.
absl::StatusOr<std::vector<std::string>> DoNamersOf(VerbContext& context, absl::string_view sha256);

// A stored message; NOT_FOUND, DATA_LOSS.
template <typename T>
absl::StatusOr<T> DoGetResource(VerbContext& context, const ResourceRef& ref);
template <typename T>
absl::StatusOr<Page<T>> DoListResources(VerbContext& context, ResourceKind kind,
                                        const AdapterFilter& filter, int page_size,
                                        absl::string_view page_token);

}  // namespace graft
