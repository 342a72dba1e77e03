"""The coefficients of the confidence, written by Testing/benchmarks/calibrate_confidence.py."""

MADE_FROM = "198 simulated results on 12 subjects: 53 successes, 55 ordinary failures, 90 hopeless inputs"
INTERCEPT = -17.36
WEIGHTS = {
    "similarity": 3.7,
    "lead": 2.923,
    "contrast": 4.678,
    "found": 0,
    "offset": 0.8455,
    "scatter": 0.1279,
    "rest": 0.7835,
    "return": 1.563,
    "summit": 0.276,
    "depth": 5.556,
    "magnification": 0.7421,
}
SPREAD = {
    "in_plane_mm": 4.255,
    "depth_mm": 3.741,
    "turn_in_plane_deg": 2.391,
    "turn_out_of_plane_deg": 11.08,
}
"""Factors between the standard deviations of the PPC solution and the errors that successful results really have."""
FLOOR = {
    "in_plane_mm": 0.1417,
    "depth_mm": 0.9,
    "turn_in_plane_deg": 0.05029,
    "turn_out_of_plane_deg": 0.424,
}
"""Added in squares: errors that no residual shows."""
