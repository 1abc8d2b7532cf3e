"""Speed beside the peers, on one machine, in one run: ``python -m benchmarks.peers``.

Each peer has a virtual environment of its own and does the same work, at the same durability, on the same
servers, configured as its own documentation recommends; `scripts/` says how, peer by peer.
"""
