-- Which store this is, wherever the file lies: artifacts/STORE names it. And how long servers have run on
-- it, by their boottime: ages count on that, so that no change of a date makes anything old.
CREATE TABLE store_identity (
  one INTEGER PRIMARY KEY CHECK (one = 1),
  id TEXT NOT NULL,
  running_time_ns INTEGER NOT NULL
) STRICT;
INSERT INTO store_identity VALUES (1, lower(hex(randomblob(16))), 0);

-- Blobs that nothing names, since when (running time), and what told a touched one (its file's stamp, which
-- is compared and never counted with).
CREATE TABLE unnamed_blobs (
  sha256 TEXT PRIMARY KEY,
  since_ns INTEGER NOT NULL,
  stamp INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Running time; the answers that are there count from now. create_time_ns is for people.
ALTER TABLE requests ADD COLUMN running_time_ns INTEGER NOT NULL DEFAULT 0;
DROP INDEX requests_by_time;
CREATE INDEX requests_by_running_time ON requests (running_time_ns);
