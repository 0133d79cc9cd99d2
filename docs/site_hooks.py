"""What mkdocs calls while it builds the site: pages may load nothing from elsewhere (`mkdocs.yml` names this file)."""

from __future__ import annotations

import logging
import re
from typing import Any

log = logging.getLogger("mkdocs.hooks.site")
# Scripts, pictures, styles and fonts; links that a reader follows are no loading.
LOADS = re.compile(
    r"""<(?:script|img|iframe|source|video|audio|embed)\b[^>]*\ssrc=["']?(?:https?:)?//[^"'\s>]+
    |<link\b[^>]*\brel=["']?(?:stylesheet|preload|preconnect|icon)["']?[^>]*\bhref=["']?(?:https?:)?//[^"'\s>]+
    |<link\b[^>]*\bhref=["']?(?:https?:)?//[^>]*\brel=["']?(?:stylesheet|preload|preconnect|icon)
    |(?:@import|url\()\s*["']?(?:https?:)?//[^"'\s)]+""",
    re.VERBOSE | re.IGNORECASE,
)


def foreign(html: str) -> list[str]:
    """What a page would load from another place."""
    return [m[0] for m in LOADS.finditer(re.sub(r"<(pre|code)\b.*?</\1>", "", html, flags=re.DOTALL))]


def on_post_page(output: str, page: Any, config: Any) -> str:
    for found in foreign(output):
        log.warning("%s loads from elsewhere: %s", page.file.src_uri, found)
    return output
