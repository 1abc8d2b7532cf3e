-- Revision 0005, frozen: lists by workflow; fewer entries for what most runs do not have.

CREATE INDEX idx_runs_workflow_updated ON runs (workflow_id, updated_at);

DROP INDEX idx_runs_parent;

CREATE INDEX idx_runs_parent ON runs (parent_run_id) WHERE parent_run_id IS NOT NULL;

DROP INDEX idx_runs_session;

CREATE INDEX idx_runs_session ON runs (session_id) WHERE session_id IS NOT NULL;
