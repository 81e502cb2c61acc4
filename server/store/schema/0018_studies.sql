-- Studies: each with its trials, whose specs are made with it, and a log of its own.
CREATE TABLE studies (
  number INTEGER PRIMARY KEY AUTOINCREMENT,  -- Order of creation.
  owner TEXT NOT NULL DEFAULT 'default',
  id TEXT NOT NULL,
  version INTEGER NOT NULL,
  done INTEGER NOT NULL,
  since_ns INTEGER NOT NULL,  -- Running time at its creation.
  study BLOB NOT NULL,        -- graft.v1.Study without trials and ranking.
  UNIQUE (owner, id)
) STRICT;
CREATE INDEX studies_by_number ON studies (owner, number);
CREATE INDEX studies_open ON studies (owner, number) WHERE done = 0;

CREATE TABLE study_trials (
  study INTEGER NOT NULL REFERENCES studies ON DELETE CASCADE,
  number INTEGER NOT NULL,
  trial BLOB NOT NULL,  -- graft.v1.Trial.
  PRIMARY KEY (study, number)
) STRICT, WITHOUT ROWID;

-- Apart from the above: they are read once, and never change.
CREATE TABLE trial_specs (
  study INTEGER NOT NULL REFERENCES studies ON DELETE CASCADE,
  number INTEGER NOT NULL,
  job BLOB NOT NULL,  -- graft.v1.Job as it will be inserted.
  PRIMARY KEY (study, number)
) STRICT, WITHOUT ROWID;

CREATE TABLE study_events (
  study INTEGER NOT NULL REFERENCES studies ON DELETE CASCADE,
  sequence INTEGER NOT NULL,
  event BLOB NOT NULL,  -- graft.v1.StudyEvent.
  PRIMARY KEY (study, sequence)
) STRICT, WITHOUT ROWID;
