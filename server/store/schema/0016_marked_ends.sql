-- The job's end has yet to be told: the program of graft-server --on-job-end has not run for it.
ALTER TABLE jobs ADD COLUMN end_marked INTEGER NOT NULL DEFAULT 0;
CREATE INDEX jobs_end_marked ON jobs (done_since_ns, number) WHERE owner = 'default' AND end_marked = 1;
