"""Table 1 of Jaganathan et al., "Deep Iterative 2D/3D Registration", MICCAI 2021, to stand beside our own figures."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PublishedRow:
    """One system of the paper; None where the figure is not at hand. method: our name of the same system."""

    system: str
    method: str
    mrpd_mm: str | None
    success_percent: float
    capture_mm: str
    seconds: str | None


CAPTION = (
    "Jaganathan et al., MICCAI 2021, table 1, on the paper's own test data: real X-rays of 6 patients, AP and lateral, "
    "3,600 runs from 0 to 60 mm, GTX Titan X. Other data than above: to be read beside it, not ranked with it."
)
PUBLISHED = (
    PublishedRow("DPPC", "dppc", None, 61.9, "10-15", None),
    PublishedRow("DPPC CL Refinement", "dppc-cl-refinement", None, 94.58, "20-25", None),
    PublishedRow("DPPC Attention", "dppc-attention", None, 95.5, "35-40", None),
    PublishedRow("PPC Flow Attention", "ppc-flow-attention", None, 35.4, "0", None),
    PublishedRow("Proposed", "deep-iterative", "0.60 ± 0.40", 97.0, "55-60", "8"),
)
