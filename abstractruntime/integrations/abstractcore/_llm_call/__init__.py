"""The `LLM_CALL` handler (`spec/04 §6`)."""
