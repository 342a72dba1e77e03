"""The coefficients of the confidence, written by Testing/benchmarks/calibrate_confidence.py."""

MADE_FROM = "222 simulated results on 13 subjects: 59 successes, 58 ordinary failures, 105 hopeless inputs"
INTERCEPT = -15.26
WEIGHTS = {
    "similarity": 3.998,
    "lead": 4.976,
    "found": 0.5688,
    "offset": 1.22,
    "scatter": 1.027,
    "summit": 1.317,
    "depth": 5.37,
}
SPREAD = {
    "in_plane_mm": 4.261,
    "depth_mm": 3.741,
    "turn_in_plane_deg": 1.54,
    "turn_out_of_plane_deg": 9.378,
}
"""Factors between the standard deviations of the PPC solution and the errors that successful results really have."""
FLOOR = {
    "in_plane_mm": 0.1417,
    "depth_mm": 0.9008,
    "turn_in_plane_deg": 0.04728,
    "turn_out_of_plane_deg": 0.4216,
}
"""Added in squares: errors that no residual shows."""
