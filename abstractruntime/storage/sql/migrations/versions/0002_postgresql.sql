-- Revision 0002, frozen: artifacts and snapshots.

CREATE TABLE artifact_blobs (
    blob_id TEXT NOT NULL,
    size_bytes BIGINT NOT NULL,
    content BYTEA NOT NULL,
    PRIMARY KEY (blob_id)
);

CREATE TABLE artifacts (
    artifact_id TEXT NOT NULL,
    blob_id TEXT NOT NULL,
    run_id TEXT,
    content_type TEXT NOT NULL,
    size_bytes BIGINT NOT NULL,
    created_at TEXT COLLATE "C" NOT NULL,
    tags_json TEXT NOT NULL,
    PRIMARY KEY (artifact_id),
    CONSTRAINT artifacts_blob_id_fkey FOREIGN KEY(blob_id) REFERENCES artifact_blobs (blob_id)
);

CREATE INDEX idx_artifacts_blob ON artifacts (blob_id);

CREATE INDEX idx_artifacts_created ON artifacts (created_at);

CREATE INDEX idx_artifacts_run ON artifacts (run_id, created_at);

CREATE TABLE snapshots (
    snapshot_id TEXT NOT NULL,
    run_id TEXT NOT NULL,
    step_id TEXT,
    name TEXT NOT NULL,
    description TEXT,
    tags_json TEXT NOT NULL,
    created_at TEXT COLLATE "C" NOT NULL,
    updated_at TEXT NOT NULL,
    run_state_json TEXT NOT NULL,
    PRIMARY KEY (snapshot_id)
);

CREATE INDEX idx_snapshots_created ON snapshots (created_at);

CREATE INDEX idx_snapshots_run ON snapshots (run_id, created_at);
