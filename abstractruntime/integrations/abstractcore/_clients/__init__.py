"""LLM clients (`spec/04 §3` to §5)."""
