"""Files of a session, as messages and tools see them (`spec/04 §9`)."""
