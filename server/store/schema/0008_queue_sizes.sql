-- How many jobs are queued, by priority and in blocks of 256 numbers, kept by the triggers below: a job's place in the queue is
-- their sum and what stands before it in its own block, however long the queue.
CREATE TABLE queue_sizes (
  owner TEXT NOT NULL,
  queue_rank INTEGER NOT NULL,
  block INTEGER NOT NULL,  -- number >> 8.
  jobs INTEGER NOT NULL,
  PRIMARY KEY (owner, queue_rank, block)
) STRICT, WITHOUT ROWID;
INSERT INTO queue_sizes
  SELECT owner, queue_rank, number >> 8, COUNT(*) FROM jobs WHERE state = 1 GROUP BY owner, queue_rank, number >> 8;

CREATE TRIGGER queue_inserted_job AFTER INSERT ON jobs WHEN new.state = 1 BEGIN
  INSERT INTO queue_sizes VALUES (new.owner, new.queue_rank, new.number >> 8, 1)
    ON CONFLICT DO UPDATE SET jobs = jobs + 1;
END;
CREATE TRIGGER queue_updated_job AFTER UPDATE OF state ON jobs WHEN (new.state = 1) <> (old.state = 1) BEGIN
  INSERT INTO queue_sizes VALUES (new.owner, new.queue_rank, new.number >> 8, iif(new.state = 1, 1, -1))
    ON CONFLICT DO UPDATE SET jobs = jobs + excluded.jobs;
  DELETE FROM queue_sizes
    WHERE owner = new.owner AND queue_rank = new.queue_rank AND block = new.number >> 8 AND jobs = 0;
END;
