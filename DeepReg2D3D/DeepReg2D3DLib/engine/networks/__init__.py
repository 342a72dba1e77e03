"""The networks of the engine: optical flow between DRR and X-ray, and weights for correspondences."""
