-- When the job was created and ended (null: it has not), by the date, in nanoseconds since 1970: lists are filtered by them. job_time_ns
-- reads a message (server/store/sqlite_file.cc). Not OR ABORT, which would keep all jobs in memory.
ALTER TABLE jobs ADD COLUMN create_time_ns INTEGER NOT NULL DEFAULT 0;
ALTER TABLE jobs ADD COLUMN end_time_ns INTEGER;
UPDATE OR ROLLBACK jobs SET create_time_ns = COALESCE(job_time_ns(job, 'create'), 0), end_time_ns = job_time_ns(job, 'end');
-- What no other term selects is found without reading any job that is not meant.
CREATE INDEX jobs_by_times ON jobs (owner, number, create_time_ns, end_time_ns);
