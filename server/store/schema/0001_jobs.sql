-- The store of graft-server. Times are nanoseconds since 1970 (UTC). Enum columns hold the numbers of
-- proto/graft/v1 or of server/store/tables.h. Columns beside a message are what it is looked up by.
-- Everything belongs to an owner; until there are accounts that is 'default'.

CREATE TABLE store_state (
  one INTEGER PRIMARY KEY CHECK (one = 1),
  -- Number of the last commit that changed anything: tells, after a COMMIT of unknown outcome, whether
  -- it happened.
  commits INTEGER NOT NULL,
  -- The process that owns the file; a writer that is not it has lost the file and must stop.
  instance TEXT NOT NULL,
  opened_time_ns INTEGER NOT NULL
) STRICT;
INSERT INTO store_state VALUES (1, 0, '', 0);

CREATE TABLE jobs (
  number INTEGER PRIMARY KEY AUTOINCREMENT,  -- Order of submission.
  owner TEXT NOT NULL DEFAULT 'default',
  id TEXT NOT NULL,
  version INTEGER NOT NULL,
  lease_epoch INTEGER NOT NULL,
  failures_in_row INTEGER NOT NULL,
  state INTEGER NOT NULL,
  done INTEGER NOT NULL,
  queue_rank INTEGER NOT NULL,  -- The priority, negated: smaller runs first.
  study TEXT NOT NULL,
  method TEXT NOT NULL,
  base_model TEXT NOT NULL,
  display_name TEXT NOT NULL,
  output_kind INTEGER,  -- What it publishes; null: nothing.
  output_name TEXT,
  last_sequence INTEGER NOT NULL,
  create_time_ns INTEGER NOT NULL,
  job BLOB NOT NULL,  -- graft.v1.Job without specs, attempts and queue position.
  UNIQUE (owner, id)
) STRICT;
-- QUEUED is 1; in the columns too, so that counting the queue reads no job.
CREATE INDEX jobs_queue ON jobs (owner, state, queue_rank, number) WHERE state = 1;
CREATE INDEX jobs_by_number ON jobs (owner, number);
CREATE INDEX jobs_by_rank ON jobs (owner, queue_rank, number);
CREATE INDEX jobs_by_state ON jobs (owner, state, number);
CREATE INDEX jobs_by_study ON jobs (owner, study, number);
CREATE UNIQUE INDEX jobs_by_output ON jobs (owner, output_kind, output_name)
  WHERE done = 0 AND output_name IS NOT NULL;

-- How many jobs and events there are, kept by the triggers below: counting a million rows at each look
-- would take seconds.
CREATE TABLE job_counts (
  owner TEXT NOT NULL,
  state INTEGER NOT NULL,
  method TEXT NOT NULL,
  jobs INTEGER NOT NULL,
  events INTEGER NOT NULL,
  PRIMARY KEY (owner, state, method)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER count_inserted_job AFTER INSERT ON jobs BEGIN
  INSERT INTO job_counts VALUES (new.owner, new.state, new.method, 1, new.last_sequence)
    ON CONFLICT DO UPDATE SET jobs = jobs + 1, events = events + excluded.events;
END;
CREATE TRIGGER count_deleted_job AFTER DELETE ON jobs BEGIN
  UPDATE job_counts SET jobs = jobs - 1, events = events - old.last_sequence
    WHERE owner = old.owner AND state = old.state AND method = old.method;
END;
CREATE TRIGGER count_updated_job AFTER UPDATE OF state, last_sequence ON jobs
WHEN new.state <> old.state OR new.last_sequence <> old.last_sequence BEGIN
  UPDATE job_counts SET jobs = jobs - 1, events = events - old.last_sequence
    WHERE owner = old.owner AND state = old.state AND method = old.method;
  INSERT INTO job_counts VALUES (new.owner, new.state, new.method, 1, new.last_sequence)
    ON CONFLICT DO UPDATE SET jobs = jobs + 1, events = events + excluded.events;
END;

CREATE TABLE job_specs (
  job INTEGER PRIMARY KEY REFERENCES jobs ON DELETE CASCADE,
  specs BLOB NOT NULL  -- graft.v1.Job with spec and resolved_spec only.
) STRICT;

CREATE TABLE job_labels (
  job INTEGER NOT NULL REFERENCES jobs ON DELETE CASCADE,
  key TEXT NOT NULL,
  value TEXT NOT NULL,
  PRIMARY KEY (job, key)
) STRICT, WITHOUT ROWID;

-- What the jobs that are not done need; rows go when the job is done.
CREATE TABLE job_uses (
  owner TEXT NOT NULL DEFAULT 'default',
  kind INTEGER NOT NULL,
  name TEXT NOT NULL,
  job INTEGER NOT NULL REFERENCES jobs ON DELETE CASCADE,
  PRIMARY KEY (owner, kind, name, job)
) STRICT, WITHOUT ROWID;
CREATE INDEX job_uses_by_job ON job_uses (job);

CREATE TABLE attempts (
  job INTEGER NOT NULL REFERENCES jobs ON DELETE CASCADE,
  number INTEGER NOT NULL,
  lease_epoch INTEGER NOT NULL,
  worker TEXT NOT NULL,
  instance TEXT NOT NULL,
  last_batch INTEGER NOT NULL,  -- Of events; batches count from 1.
  end_reported INTEGER NOT NULL,
  difference_logged INTEGER NOT NULL,
  attempt BLOB NOT NULL,  -- graft.v1.Attempt.
  PRIMARY KEY (job, number)
) STRICT, WITHOUT ROWID;

-- Who runs what now. When a lease ends is counted by the server on its monotonic clock and is not
-- stored: a restarted server grants a full term.
CREATE TABLE leases (
  job INTEGER NOT NULL REFERENCES jobs ON DELETE CASCADE,
  rank INTEGER NOT NULL,  -- Of the process, in a data-parallel job.
  attempt INTEGER NOT NULL,
  lease_epoch INTEGER NOT NULL,
  worker TEXT NOT NULL,
  instance TEXT NOT NULL,
  request_id TEXT NOT NULL,
  PRIMARY KEY (job, rank)
) STRICT, WITHOUT ROWID;

CREATE TABLE events (
  job INTEGER NOT NULL REFERENCES jobs ON DELETE CASCADE,
  sequence INTEGER NOT NULL,  -- From 1 without a gap.
  event BLOB NOT NULL,        -- graft.v1.JobEvent.
  PRIMARY KEY (job, sequence)
) STRICT, WITHOUT ROWID;

-- Numbers that the log has for a step, to compare with when a resumed run repeats it.
CREATE TABLE logged_steps (
  job INTEGER NOT NULL REFERENCES jobs ON DELETE CASCADE,
  kind INTEGER NOT NULL,
  step INTEGER NOT NULL,
  metrics BLOB NOT NULL,  -- graft.v1.Metrics.
  PRIMARY KEY (job, kind, step)
) STRICT, WITHOUT ROWID;

CREATE TABLE checkpoints (
  job INTEGER NOT NULL REFERENCES jobs ON DELETE CASCADE,
  step INTEGER NOT NULL,
  attempt INTEGER NOT NULL,
  PRIMARY KEY (job, step)
) STRICT, WITHOUT ROWID;

-- Data sets, models and adapters.
CREATE TABLE resources (
  owner TEXT NOT NULL DEFAULT 'default',
  kind INTEGER NOT NULL,
  name TEXT NOT NULL,
  sha256 TEXT NOT NULL,
  base_model TEXT NOT NULL,
  job TEXT NOT NULL,  -- That made it. It may outlive the job.
  message BLOB NOT NULL,
  PRIMARY KEY (owner, kind, name)
) STRICT, WITHOUT ROWID;

-- Every blob that something names. A blob that is not here may be collected.
CREATE TABLE files (
  owner TEXT NOT NULL DEFAULT 'default',
  kind INTEGER NOT NULL,
  holder TEXT NOT NULL,
  position INTEGER NOT NULL,
  path TEXT NOT NULL,
  size_bytes INTEGER NOT NULL,
  sha256 TEXT NOT NULL,
  PRIMARY KEY (owner, kind, holder, position)
) STRICT, WITHOUT ROWID;
CREATE INDEX files_by_sha256 ON files (sha256);

-- Answers kept for request_ids.
CREATE TABLE requests (
  owner TEXT NOT NULL DEFAULT 'default',
  verb TEXT NOT NULL,
  id TEXT NOT NULL,
  body_sha256 TEXT NOT NULL,
  answer BLOB NOT NULL,
  create_time_ns INTEGER NOT NULL,
  PRIMARY KEY (owner, verb, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX requests_by_time ON requests (create_time_ns);
