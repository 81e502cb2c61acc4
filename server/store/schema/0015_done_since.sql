-- Since when, in running time, a job has been done. Of those that are done already: from now on.
ALTER TABLE jobs ADD COLUMN done_since_ns INTEGER;
UPDATE OR ROLLBACK jobs SET done_since_ns = (SELECT running_time_ns FROM store_identity) WHERE done = 1;
CREATE INDEX jobs_done_since ON jobs (done_since_ns, number) WHERE owner = 'default' AND done_since_ns IS NOT NULL;
