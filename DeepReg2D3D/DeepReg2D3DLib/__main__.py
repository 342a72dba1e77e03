"""``python -m DeepReg2D3DLib``: the command line, where the ``deepreg2d3d`` command is not on the path."""

from .cli import main

if __name__ == "__main__":
    raise SystemExit(main())
