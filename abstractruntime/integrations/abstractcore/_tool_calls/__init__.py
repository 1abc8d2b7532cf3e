"""Tool executors and the `TOOL_CALLS` handler (`spec/04 §7`)."""
