"""The coefficients of the confidence, written by Testing/benchmarks/calibrate_confidence.py."""

MADE_FROM = "115 simulated results on 7 subjects: 48 successes, 27 ordinary failures, 40 hopeless inputs"
INTERCEPT = -14.83
WEIGHTS = {
    "similarity": 5.3,
    "lead": 3.233,
    "contrast": 0,
    "found": 0.413,
    "offset": 1.322,
    "scatter": 1.723,
    "rest": 0,
    "return": 0,
    "summit": 1.103,
    "depth": 5.214,
    "magnification": 0,
}
SPREAD = {
    "in_plane_mm": 2.505,
    "depth_mm": 2.485,
    "turn_in_plane_deg": 2.374,
    "turn_out_of_plane_deg": 5.542,
}
"""Factors between the standard deviations of the PPC solution and the errors that successful results really have."""
FLOOR = {
    "in_plane_mm": 0.07648,
    "depth_mm": 0.6812,
    "turn_in_plane_deg": 0.02438,
    "turn_out_of_plane_deg": 0.3036,
}
"""Added in squares: errors that no residual shows."""
