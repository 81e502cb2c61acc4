-- A job that is deleted gets the owner 'deleted', which nobody asks for; its rows go after it, some at a time.
CREATE TRIGGER count_removed_job AFTER UPDATE OF owner ON jobs BEGIN
  UPDATE job_counts SET jobs = jobs - 1, events = events - old.last_sequence
    WHERE owner = old.owner AND state = old.state AND method = old.method;
END;
