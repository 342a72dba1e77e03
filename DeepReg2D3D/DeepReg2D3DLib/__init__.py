"""DeepReg2D3D: deep iterative 2D/3D registration of a CT to X-ray images. Research software, not a medical device."""

__version__ = "0.1.0"
