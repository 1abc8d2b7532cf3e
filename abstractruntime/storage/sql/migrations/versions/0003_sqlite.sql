-- Revision 0003, frozen: timers and time-outs of runs that processes of their own drive.

CREATE INDEX idx_runs_due ON runs (due_at, run_id) WHERE due_at IS NOT NULL AND wake_at IS NULL;

UPDATE runs SET due_at = coalesce((julianday(wait_until) - 2440587.5) * 86400.0, 0)
WHERE status = 'waiting' AND wait_reason = 'until' AND wait_until IS NOT NULL
  AND due_at IS NULL AND wake_at IS NULL;
