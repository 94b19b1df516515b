"""What every web application needs, in one line: `app.add_middleware(MainstayMiddleware, ...)`.

For FastAPI, Starlette and every other ASGI application; it imports none of them.
"""

from mainstay.middleware.gate import client_address
from mainstay.middleware.web import MainstayMiddleware
from mainstay.middleware.web_request import WebRequest

__all__ = ["MainstayMiddleware", "WebRequest", "client_address"]
