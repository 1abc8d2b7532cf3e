"""Private parts of `mcp_worker`: the state, JSON-RPC, the two transports, logs, and the command line."""
