"""The coefficients of the confidence, written by Testing/benchmarks/calibrate_confidence.py."""

MADE_FROM = "444 simulated results on 13 subjects: 118 successes, 116 ordinary failures, 210 hopeless inputs"
INTERCEPT = -16.36
WEIGHTS = {
    "similarity": 3.74,
    "lead": 4.545,
    "found": 1.345,
    "offset": 1.374,
    "scatter": 1.294,
    "summit": 1.648,
    "depth": 4.85,
    "geometry": 1.11,
}
SPREAD = {
    "in_plane_mm": 4.52,
    "depth_mm": 4.794,
    "turn_in_plane_deg": 2.502,
    "turn_out_of_plane_deg": 8.582,
}
"""Factors between the standard deviations of the PPC solution and the errors that successful results really have."""
FLOOR = {
    "in_plane_mm": 0.1233,
    "depth_mm": 0.9133,
    "turn_in_plane_deg": 0.04939,
    "turn_out_of_plane_deg": 0.3941,
}
"""Added in squares: errors that no residual shows."""
