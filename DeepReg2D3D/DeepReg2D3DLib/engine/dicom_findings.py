"""What was found out about a view: every number with where it came from, what is missing, what contradicts itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

ORIGINS = ("file", "derived", "assumed")
"""'file': stands in a tag; 'derived': computed from tags; 'assumed': a default, because the file does not say."""


@dataclass(frozen=True)
class Finding:
    """One number of a geometry.

    value: a number, a tuple of numbers, a word, or true or false. source: its tag, or how it came about.
    """

    name: str
    value: Any
    unit: str
    origin: str
    source: str

    @property
    def text(self) -> str:
        """The value with its unit, short."""
        if isinstance(self.value, bool):
            shown = "yes" if self.value else "no"
        elif isinstance(self.value, str):
            shown = self.value
        else:
            numbers = self.value if isinstance(self.value, tuple) else (self.value,)
            shown = " x ".join(f"{number:.7g}" for number in numbers)
        return f"{shown} {self.unit}".strip()


@dataclass
class Report:
    """Findings of one view, in the order of reading.

    warnings: contradictions, and values that cannot be. missing: what the projection needs and the file does not say.
    """

    findings: list[Finding] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)

    def add(self, name: str, value: Any, unit: str, origin: str, source: str) -> Any:
        """Note a finding and return its value."""
        self.findings.append(Finding(name, value, unit, origin, source))
        return value

    def warn(self, text: str) -> None:
        """Note a warning, once."""
        if text not in self.warnings:
            self.warnings.append(text)

    def get(self, name: str) -> Finding | None:
        """The finding of this name."""
        return next((finding for finding in self.findings if finding.name == name), None)

    @property
    def assumed(self) -> list[Finding]:
        """What rests on defaults."""
        return [finding for finding in self.findings if finding.origin == "assumed"]

    def lines(self) -> list[str]:
        """For people: a line for each finding, with its source, then what is missing and the warnings."""
        name_width = max((len(finding.name) for finding in self.findings), default=0)
        text_width = max((len(finding.text) for finding in self.findings), default=0)
        lines = [
            f"{finding.name:<{name_width}}  {finding.text:<{text_width}}  {finding.origin:<7}  {finding.source}"
            for finding in self.findings
        ]
        lines += [f"missing: {text}" for text in self.missing]
        return lines + [f"warning: {text}" for text in self.warnings]

    def as_json(self) -> dict[str, Any]:
        """The same for programs."""
        findings = [
            {
                "name": finding.name,
                "value": list(finding.value) if isinstance(finding.value, tuple) else finding.value,
                "unit": finding.unit,
                "origin": finding.origin,
                "source": finding.source,
            }
            for finding in self.findings
        ]
        return {"findings": findings, "missing": list(self.missing), "warnings": list(self.warnings)}
