"""The page, and the API behind it. Needs FastAPI, uvicorn and python-multipart (the extra ``web``)."""

from __future__ import annotations

from segspectral.web.app import create_app
from segspectral.web.jobs import Limits

__all__ = ["Limits", "create_app"]
