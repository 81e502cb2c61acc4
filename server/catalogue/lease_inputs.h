#pragma once

#include "absl/status/status.h"
#include "graft/worker/v1/worker.pb.h"
#include "server/store/job_store.h"

namespace graft {

worker::v1::InputFiles FilesOf(const v1::Model& model);
worker::v1::InputFiles FilesOf(const v1::Adapter& adapter);
// A data set as one file: its path is a file name whose ending tells the format.
v1::Artifact FileOf(const v1::Dataset& dataset);

// What a worker needs to run the claimed job. NOT_FOUND, FAILED_PRECONDITION: an input is gone or
// is no longer what the resolved spec names (its hash); OUT_OF_RANGE: it is more than a worker can
// receive. Others are the store's.
absl::Status FillLease(JobStore& store, const Claim& claim, worker::v1::Lease* lease);

// How the attempt ends whose lease could not be filled: what another try would find again fails the
// job (what is broken in the store as INTERNAL), everything else is handed back by the server.
AttemptOutcome OutcomeOfUnfilled(const absl::Status& status);

}  // namespace graft
