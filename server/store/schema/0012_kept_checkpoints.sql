-- Since when, in running time, a job that is done has kept the checkpoint, for a retry.
ALTER TABLE checkpoints ADD COLUMN kept_since_ns INTEGER;
CREATE INDEX checkpoints_kept ON checkpoints (kept_since_ns) WHERE kept_since_ns IS NOT NULL;
-- The priority of a queued job may change.
CREATE TRIGGER queue_reranked_job AFTER UPDATE OF queue_rank ON jobs WHEN new.state = 1 AND new.queue_rank <> old.queue_rank BEGIN
  UPDATE queue_sizes SET jobs = jobs - 1
    WHERE owner = old.owner AND queue_rank = old.queue_rank AND block = old.number >> 8;
  DELETE FROM queue_sizes
    WHERE owner = old.owner AND queue_rank = old.queue_rank AND block = old.number >> 8 AND jobs = 0;
  INSERT INTO queue_sizes VALUES (new.owner, new.queue_rank, new.number >> 8, 1)
    ON CONFLICT DO UPDATE SET jobs = jobs + 1;
END;
