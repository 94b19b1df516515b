"""Mainstay: cache, rate limits, durable jobs and health over gRPC.

`Mainstay` holds clients of all four services; `Worker` runs jobs; `request` names the request that
calls belong to. Errors are in `mainstay.errors`.
"""

from mainstay.client import Mainstay
from mainstay.context import RequestContext, request
from mainstay.credentials import Credentials, Tls
from mainstay.errors import MainstayError
from mainstay.jobs.worker import Worker

__all__ = [
    "Credentials",
    "Mainstay",
    "MainstayError",
    "RequestContext",
    "Tls",
    "Worker",
    "request",
]
