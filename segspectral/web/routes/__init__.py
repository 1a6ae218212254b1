"""The routes of the API, a router for each resource; ``ROUTERS`` lists them."""

from __future__ import annotations

from segspectral.web.routes import about, edits, export, jobs, labelling, lessons, results

__all__ = ["ROUTERS"]

ROUTERS = (about.router, jobs.router, results.router, edits.router, export.router, labelling.router, lessons.router)
