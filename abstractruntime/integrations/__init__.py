"""Optional rooms: each needs an extra, and none is imported here (`spec/04 §1.1`)."""
