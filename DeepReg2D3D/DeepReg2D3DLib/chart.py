"""A small chart, drawn with Pillow: axes with ticks, bars, lines with whiskers and a legend."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from .engine.atomic import atomic_path

# The palette of Okabe and Ito, which people with colour-blindness can tell apart.
COLOURS = ((0, 114, 178), (213, 94, 0), (0, 158, 115), (204, 121, 167), (230, 159, 0), (86, 180, 233), (60, 60, 60))
_INK, _GRID, _PAPER = (40, 40, 40), (222, 222, 222), (255, 255, 255)
_FINER = 2  # everything is drawn this much larger and shrunk at the end


@dataclass(frozen=True)
class Axis:
    """A linear axis from ``low`` to ``high`` with ticks at the given values."""

    title: str
    low: float
    high: float
    ticks: Sequence[float]
    labels: Sequence[str] | None = None


class Chart:
    """A chart of ``width`` x ``height`` pixels; coordinates are those of its axes."""

    def __init__(self, title: str, x: Axis, y: Axis, width: int = 860, height: int = 520) -> None:
        self.x, self.y = x, y
        self.picture = Image.new("RGB", (width * _FINER, height * _FINER), _PAPER)
        self.draw = ImageDraw.Draw(self.picture)
        self.left, self.top = 74 * _FINER, 46 * _FINER
        self.right, self.bottom = (width - 20) * _FINER, (height - 62) * _FINER
        self._legend: list[tuple[str, tuple[int, int, int]]] = []
        self._text(title, (width * _FINER / 2, 22 * _FINER), 16, "mm")
        for value, label in zip(x.ticks, x.labels or [f"{tick:g}" for tick in x.ticks], strict=True):
            place = self._place(value, y.low)[0]
            self.draw.line([(place, self.top), (place, self.bottom)], fill=_GRID, width=_FINER)
            self._text(label, (place, self.bottom + 6 * _FINER), 13, "ma")
        for value, label in zip(y.ticks, y.labels or [f"{tick:g}" for tick in y.ticks], strict=True):
            place = self._place(x.low, value)[1]
            self.draw.line([(self.left, place), (self.right, place)], fill=_GRID, width=_FINER)
            self._text(label, (self.left - 8 * _FINER, place), 13, "rm")
        self._text(x.title, ((self.left + self.right) / 2, self.bottom + 40 * _FINER), 14, "mm")
        self._sideways(y.title)
        self.draw.rectangle([self.left, self.top, self.right, self.bottom], outline=_INK, width=_FINER)

    def bar(self, low: float, high: float, value: float, colour: tuple[int, int, int]) -> None:
        """A filled bar over ``low`` to ``high`` up to ``value``."""
        if value > 0:
            left, base = self._place(low, 0)
            right, top = self._place(high, value)
            self.draw.rectangle([left, top, right, base], fill=colour)

    def line(self, points: Sequence[tuple[float, float]], colour: tuple[int, int, int]) -> None:
        """A line through points, with a dot at each."""
        places = [self._place(*point) for point in points]
        if len(places) > 1:
            self.draw.line(places, fill=colour, width=2 * _FINER, joint="curve")
        for u, v in places:
            r = 4 * _FINER
            self.draw.ellipse([u - r, v - r, u + r, v + r], fill=colour)

    def whisker(self, at: float, low: float, high: float, colour: tuple[int, int, int]) -> None:
        """An interval, upright, with caps."""
        (u, bottom), (_, top) = self._place(at, low), self._place(at, high)
        cap = 4 * _FINER
        for ends in ([(u, bottom), (u, top)], [(u - cap, bottom), (u + cap, bottom)], [(u - cap, top), (u + cap, top)]):
            self.draw.line(ends, fill=colour, width=_FINER)

    def level(self, value: float, label: str) -> None:
        """A dashed horizontal line with a word."""
        u, v = self._place(self.x.low, value)
        self._dashes((u, v), (self.right, v))
        self._text(label, (self.right - 6 * _FINER, v - 4 * _FINER), 12, "rb")

    def limit(self, value: float, label: str) -> None:
        """A dashed upright line with a word."""
        u, v = self._place(value, self.y.low)
        self._dashes((u, self.top), (u, v))
        self._text(label, (u + 5 * _FINER, self.top + 5 * _FINER), 12, "la")

    def name(self, label: str, colour: tuple[int, int, int]) -> None:
        """An entry of the legend."""
        self._legend.append((label, colour))

    def image(self, corner: str = "right") -> Image.Image:
        """The finished picture. corner: of the legend, 'left' (below) or 'right' (above, clear of the last bars)."""
        self._draw_legend(corner)
        size = (self.picture.width // _FINER, self.picture.height // _FINER)
        return self.picture.resize(size, Image.Resampling.LANCZOS)

    def save(self, path: Path, corner: str = "right") -> None:
        """Write the chart as PNG; corner as in ``image``."""
        picture = self.image(corner)
        with atomic_path(path) as part:
            picture.save(part, format="PNG")

    def _place(self, x: float, y: float) -> tuple[float, float]:
        u = (min(max(x, self.x.low), self.x.high) - self.x.low) / (self.x.high - self.x.low)
        v = (min(max(y, self.y.low), self.y.high) - self.y.low) / (self.y.high - self.y.low)
        return self.left + u * (self.right - self.left), self.bottom - v * (self.bottom - self.top)

    def _dashes(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        length = abs(end[0] - start[0]) + abs(end[1] - start[1])
        count = max(1, int(length / (10 * _FINER)))
        for i in range(count):
            ends = [
                tuple(a + (b - a) * share / count for a, b in zip(start, end, strict=True)) for share in (i, i + 0.6)
            ]
            self.draw.line(ends, fill=(110, 110, 110), width=_FINER)

    def _text(self, text: str, place: tuple[float, float], size: int, anchor: str) -> None:
        self.draw.text(place, text, fill=_INK, font=ImageFont.load_default(size * _FINER), anchor=anchor)

    def _sideways(self, text: str) -> None:
        font = ImageFont.load_default(14 * _FINER)
        length = int(self.draw.textlength(text, font)) + 4
        strip = Image.new("RGB", (length, 22 * _FINER), _PAPER)
        ImageDraw.Draw(strip).text((length / 2, 11 * _FINER), text, fill=_INK, font=font, anchor="mm")
        turned = strip.rotate(90, expand=True)
        self.picture.paste(turned, (6 * _FINER, int((self.top + self.bottom - turned.height) / 2)))

    def _draw_legend(self, corner: str) -> None:
        if not self._legend:
            return
        font = ImageFont.load_default(13 * _FINER)
        width = max(self.draw.textlength(label, font) for label, _ in self._legend) + 40 * _FINER
        height = (20 * len(self._legend) + 10) * _FINER
        left = self.left + 12 * _FINER if corner == "left" else self.right - width - 64 * _FINER
        top = self.bottom - height - 12 * _FINER if corner == "left" else self.top + 26 * _FINER
        self.draw.rectangle([left, top, left + width, top + height], fill=_PAPER, outline=_GRID, width=_FINER)
        for row, (label, colour) in enumerate(self._legend):
            v = top + (15 + 20 * row) * _FINER
            self.draw.rectangle([left + 8 * _FINER, v - 5 * _FINER, left + 26 * _FINER, v + 5 * _FINER], fill=colour)
            self._text(label, (left + 32 * _FINER, v), 13, "lm")
