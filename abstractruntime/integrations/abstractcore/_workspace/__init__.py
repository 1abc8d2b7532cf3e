"""Which paths tools may touch (`spec/04 §10`)."""
