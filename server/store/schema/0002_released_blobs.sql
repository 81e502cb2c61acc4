-- Blobs that lost a name: they may be deleted soon, without a search through all that there are.
CREATE TABLE released_blobs (
  sha256 TEXT PRIMARY KEY
) STRICT, WITHOUT ROWID;

CREATE TRIGGER release_deleted_file AFTER DELETE ON files BEGIN
  INSERT OR IGNORE INTO released_blobs VALUES (old.sha256);
END;
