-- Where and by what the last attempt failed, after what time, and how many in a row did so before it; failures_in_row counts all that
-- brought no progress.
ALTER TABLE jobs ADD COLUMN failure_place TEXT NOT NULL DEFAULT '';
ALTER TABLE jobs ADD COLUMN failure_cause TEXT NOT NULL DEFAULT '';
ALTER TABLE jobs ADD COLUMN failure_ran_ms INTEGER NOT NULL DEFAULT 0;
ALTER TABLE jobs ADD COLUMN failures_alike INTEGER NOT NULL DEFAULT 0;
-- The furthest that an evaluation came: its step and the rows that it had done there.
ALTER TABLE jobs ADD COLUMN evaluated_step INTEGER NOT NULL DEFAULT 0;
ALTER TABLE jobs ADD COLUMN evaluated_rows INTEGER NOT NULL DEFAULT 0;
-- The attempt did more than to begin.
ALTER TABLE attempts ADD COLUMN progressed INTEGER NOT NULL DEFAULT 0;
