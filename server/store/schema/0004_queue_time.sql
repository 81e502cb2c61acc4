-- When a job was queued last; of a job that never was queued again that is its creation.
ALTER TABLE jobs RENAME COLUMN create_time_ns TO queue_time_ns;
CREATE INDEX jobs_by_queue_time ON jobs (owner, queue_time_ns) WHERE state = 1;
