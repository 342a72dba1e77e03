"""The coefficients of the confidence, written by Testing/benchmarks/calibrate_confidence.py."""

MADE_FROM = "198 simulated results on 12 subjects: 53 successes, 55 ordinary failures, 90 hopeless inputs"
INTERCEPT = -15.37
WEIGHTS = {
    "similarity": 4.874,
    "lead": 3.482,
    "found": 0.4623,
    "offset": 1.583,
    "scatter": 0.6559,
    "summit": 1.34,
    "depth": 5.479,
    "magnification": 1.029,
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
