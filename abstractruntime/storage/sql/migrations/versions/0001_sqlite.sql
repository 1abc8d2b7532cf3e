-- Revision 0001, frozen. Tables that exist already (an adopted file) have got their columns before.

CREATE TABLE IF NOT EXISTS command_cursors (
    consumer_id TEXT NOT NULL,
    cursor INTEGER NOT NULL,
    updated_at TEXT NOT NULL,
    PRIMARY KEY (consumer_id)
);

CREATE TABLE IF NOT EXISTS commands (
    seq INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    command_id TEXT NOT NULL,
    run_id TEXT NOT NULL,
    type TEXT NOT NULL,
    payload_json TEXT NOT NULL,
    ts TEXT NOT NULL,
    client_id TEXT,
    CONSTRAINT commands_command_id_key UNIQUE (command_id)
);

CREATE INDEX IF NOT EXISTS idx_commands_run_id ON commands (run_id);

CREATE TABLE IF NOT EXISTS event_cursors (
    run_id TEXT NOT NULL,
    wait_key TEXT NOT NULL,
    seq BIGINT NOT NULL,
    CONSTRAINT event_cursors_pkey PRIMARY KEY (run_id, wait_key)
);

CREATE TABLE IF NOT EXISTS events (
    seq INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    event_id TEXT NOT NULL,
    wait_key TEXT NOT NULL,
    wildcard_key TEXT,
    payload_json TEXT NOT NULL,
    emitter_run_id TEXT,
    added_at DOUBLE NOT NULL,
    expires_at DOUBLE NOT NULL,
    CONSTRAINT events_event_id_key UNIQUE (event_id)
);

CREATE INDEX IF NOT EXISTS idx_events_expires ON events (expires_at);

CREATE INDEX IF NOT EXISTS idx_events_key ON events (wait_key, seq);

CREATE INDEX IF NOT EXISTS idx_events_wildcard ON events (wildcard_key, seq);

CREATE TABLE IF NOT EXISTS ledger (
    run_id TEXT NOT NULL,
    seq INTEGER NOT NULL,
    record_json TEXT NOT NULL,
    status TEXT,
    idempotency_key TEXT,
    CONSTRAINT ledger_pkey PRIMARY KEY (run_id, seq)
);

CREATE INDEX IF NOT EXISTS idx_ledger_completed_key ON ledger (run_id, idempotency_key) WHERE status = 'completed' AND idempotency_key IS NOT NULL;

CREATE INDEX IF NOT EXISTS idx_ledger_run_seq ON ledger (run_id, seq);

CREATE TABLE IF NOT EXISTS ledger_heads (
    run_id TEXT NOT NULL,
    last_seq INTEGER NOT NULL,
    PRIMARY KEY (run_id)
);

CREATE TABLE IF NOT EXISTS runs (
    run_id TEXT NOT NULL,
    workflow_id TEXT NOT NULL,
    status TEXT NOT NULL,
    wait_reason TEXT,
    wait_until TEXT,
    parent_run_id TEXT,
    actor_id TEXT,
    session_id TEXT,
    created_at TEXT,
    updated_at TEXT,
    version BIGINT DEFAULT 1 NOT NULL,
    wake_at DOUBLE,
    due_at DOUBLE,
    wait_key TEXT,
    current_node TEXT,
    ledger_seq BIGINT DEFAULT 0 NOT NULL,
    depth INTEGER DEFAULT 0 NOT NULL,
    attempts INTEGER DEFAULT 0 NOT NULL,
    redeliveries INTEGER DEFAULT 0 NOT NULL,
    task TEXT DEFAULT 'tick' NOT NULL,
    lease_until DOUBLE,
    hold_reason TEXT,
    inserted_at DOUBLE DEFAULT 0 NOT NULL,
    run_json TEXT NOT NULL,
    step_json TEXT,
    PRIMARY KEY (run_id)
);

CREATE INDEX IF NOT EXISTS idx_runs_parent ON runs (parent_run_id);

CREATE INDEX IF NOT EXISTS idx_runs_session ON runs (session_id);

CREATE INDEX IF NOT EXISTS idx_runs_status_updated ON runs (status, updated_at DESC);

CREATE INDEX IF NOT EXISTS idx_runs_updated ON runs (updated_at);

CREATE INDEX IF NOT EXISTS idx_runs_wait_key ON runs (wait_key) WHERE wait_reason = 'event' AND status = 'waiting';

CREATE INDEX IF NOT EXISTS idx_runs_waiting ON runs (status, wait_reason, wait_until);

CREATE INDEX IF NOT EXISTS idx_runs_wake ON runs (wake_at) WHERE wake_at IS NOT NULL;

CREATE INDEX IF NOT EXISTS idx_runs_workflow_updated ON runs (workflow_id, updated_at DESC);

CREATE TABLE IF NOT EXISTS schedules (
    schedule_id TEXT NOT NULL,
    cursor DOUBLE NOT NULL,
    CONSTRAINT schedules_pkey PRIMARY KEY (schedule_id)
);

CREATE TABLE IF NOT EXISTS wait_index (
    run_id TEXT NOT NULL,
    next_due_iso TEXT NOT NULL,
    updated_at_iso TEXT NOT NULL,
    status TEXT,
    PRIMARY KEY (run_id)
);

CREATE INDEX IF NOT EXISTS idx_wait_index_next_due ON wait_index (next_due_iso);

CREATE TABLE IF NOT EXISTS wait_keys (
    run_id TEXT NOT NULL,
    wait_key TEXT NOT NULL,
    CONSTRAINT wait_keys_pkey PRIMARY KEY (run_id, wait_key)
);

CREATE INDEX IF NOT EXISTS idx_wait_keys_key ON wait_keys (wait_key);
