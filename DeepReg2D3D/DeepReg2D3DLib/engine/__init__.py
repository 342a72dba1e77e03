"""The algorithm: torch, numpy and SimpleITK only, one concept a file. Lengths in mm, angles in radians, frames LPS."""
