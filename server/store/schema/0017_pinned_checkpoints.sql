-- A pinned checkpoint stays until it is let go; of those that are there already nobody knows when they were made.
ALTER TABLE checkpoints ADD COLUMN pinned INTEGER NOT NULL DEFAULT 0;
ALTER TABLE checkpoints ADD COLUMN create_time_ns INTEGER;
