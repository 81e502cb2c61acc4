-- What a worker must be able to do to take the job (server/store/tables.h, ToColumn): empty: any worker will do.
ALTER TABLE jobs ADD COLUMN needs TEXT NOT NULL DEFAULT '';
-- The queue of those that need the same, so that a worker finds its jobs behind others that it cannot do.
CREATE INDEX jobs_queue_by_needs ON jobs (owner, needs, queue_rank, number) WHERE state = 1;
