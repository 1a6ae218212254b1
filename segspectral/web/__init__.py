"""The page, and the API behind it. Needs FastAPI, uvicorn and python-multipart (the extra ``web``)."""

from __future__ import annotations

from segspectral.web.app import create_app
from segspectral.web.jobs import Limits, Workers

__all__ = ["Limits", "Workers", "create_app"]
