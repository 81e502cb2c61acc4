-- What a worker must be able to do to go on from the checkpoint, as in jobs.needs, which is what the newest one needs. Of those that are
-- there already only the latter is known.
ALTER TABLE checkpoints ADD COLUMN needs TEXT NOT NULL DEFAULT '';
UPDATE checkpoints SET needs = (SELECT needs FROM jobs WHERE jobs.number = checkpoints.job);
