"""The coefficients of the confidence, written by Testing/benchmarks/calibrate_confidence.py."""

MADE_FROM = "103 simulated results on 6 subjects: 46 successes, 25 ordinary failures, 32 hopeless inputs"
INTERCEPT = -15.04
WEIGHTS = {
    "similarity": 4.038,
    "lead": 3.316,
    "contrast": 0,
    "found": 0.4883,
    "confirmed": 0,
    "offset": 1.658,
    "scatter": 1.97,
    "rest": 0,
    "return": 0,
    "summit": 1.7,
    "depth": 5.452,
    "magnification": 0,
}
SPREAD = {
    "in_plane_mm": 2.364,
    "depth_mm": 2.148,
    "turn_in_plane_deg": 2.293,
    "turn_out_of_plane_deg": 5.407,
}
"""Factors between the standard deviations of the PPC solution and the errors that successful results really have."""
FLOOR = {
    "in_plane_mm": 0.07363,
    "depth_mm": 0.6681,
    "turn_in_plane_deg": 0.0241,
    "turn_out_of_plane_deg": 0.2787,
}
"""Added in squares: errors that no residual shows."""
