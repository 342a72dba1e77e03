"""Translation of what people read: Slicer's inside Slicer, none outside.

Slicer finds a text's context by the file that calls, so this is Slicer's own function and not a wrapper of it.
"""

from __future__ import annotations

try:
    from slicer.i18n import tr
except ImportError:

    def tr(text: str) -> str:
        """The text as it is."""
        return text


__all__ = ["tr"]
