"""The background jobs of the platform, one module for each event that starts one.

Each module has the payload as a dataclass, and `register`, which adds its functions to a worker.
"""
