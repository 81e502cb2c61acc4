-- The last step of which the job ever had a checkpoint: only beyond it is a checkpoint progress. One that turned out corrupt is dropped, and
-- saving its step again is none.
ALTER TABLE jobs ADD COLUMN saved_step INTEGER NOT NULL DEFAULT 0;
UPDATE jobs SET saved_step = COALESCE((SELECT MAX(step) FROM checkpoints WHERE checkpoints.job = jobs.number), 0);
