-- So that each term of a list's filter reads only the jobs that it selects.
CREATE INDEX jobs_by_method ON jobs (owner, method, number);
CREATE INDEX jobs_by_base_model ON jobs (owner, base_model, number);
CREATE INDEX jobs_by_display_name ON jobs (owner, display_name, number) WHERE display_name <> '';
CREATE INDEX jobs_not_done ON jobs (owner, number) WHERE done = 0;
CREATE INDEX job_labels_by_value ON job_labels (key, value, job);
