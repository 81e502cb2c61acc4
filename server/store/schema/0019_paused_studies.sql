-- A study's time limit stands still while the study is paused.
ALTER TABLE studies ADD COLUMN paused_since_ns INTEGER;  -- Running time; NULL: it is not paused, or was before this step.
