"""The default toolsets for MCP clients, over stdio or HTTP: ``abstractruntime-mcp-worker`` (`spec/04 §14`).

Install it with ``pip install "abstractruntime[mcp-worker]"``. Protocol revision 2025-11-25; each request
stands alone, so any number of workers may serve behind one address.
"""

from __future__ import annotations

from ._mcp_worker.cli import main
from ._mcp_worker.rpc import handle_mcp_request
from ._mcp_worker.state import McpWorkerState, build_worker_state
from ._mcp_worker.stdio import serve_stdio
from ._mcp_worker.wsgi import build_wsgi_app

__all__ = [
    "McpWorkerState",
    "build_worker_state",
    "build_wsgi_app",
    "handle_mcp_request",
    "main",
    "serve_stdio",
]

if __name__ == "__main__":
    raise SystemExit(main())
