-- Revision 0004, frozen: priorities, and who holds or waits for the slots of a limit.

CREATE TABLE limit_slots (
    limit_key TEXT NOT NULL,
    run_id TEXT NOT NULL,
    state TEXT NOT NULL,
    scope TEXT NOT NULL,
    terms_json TEXT NOT NULL,
    version BIGINT NOT NULL,
    rank DOUBLE NOT NULL,
    called_at DOUBLE,
    calls INTEGER DEFAULT 0 NOT NULL,
    CONSTRAINT limit_slots_pkey PRIMARY KEY (limit_key, run_id)
);

CREATE INDEX idx_limit_slots_held ON limit_slots (limit_key) WHERE state = 'held';

CREATE INDEX idx_limit_slots_line ON limit_slots (limit_key, rank, run_id) WHERE state = 'waiting';

CREATE INDEX idx_limit_slots_run ON limit_slots (run_id);

CREATE TABLE limit_claims (
    seq INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    limit_key TEXT NOT NULL,
    claimed_at DOUBLE NOT NULL,
    expires_at DOUBLE NOT NULL
);

CREATE INDEX idx_limit_claims_key ON limit_claims (limit_key, claimed_at);

CREATE INDEX idx_limit_claims_expires ON limit_claims (expires_at);

ALTER TABLE runs ADD COLUMN priority INTEGER DEFAULT 0 NOT NULL;

ALTER TABLE runs ADD COLUMN admission TEXT;

CREATE INDEX idx_runs_urgency ON runs (priority, wake_at) WHERE priority <> 0 AND wake_at IS NOT NULL;
