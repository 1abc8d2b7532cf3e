-- Revision 0003, frozen: timers and time-outs of runs that processes of their own drive.

CREATE INDEX idx_runs_due ON runs (due_at, run_id) WHERE due_at IS NOT NULL AND wake_at IS NULL;
