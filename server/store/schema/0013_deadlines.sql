-- When a job that is not done by then fails: nanoseconds since 1970, by the date.
ALTER TABLE jobs ADD COLUMN deadline_ns INTEGER;
CREATE INDEX jobs_by_deadline ON jobs (deadline_ns) WHERE owner = 'default' AND done = 0 AND deadline_ns IS NOT NULL;
