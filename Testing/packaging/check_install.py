"""Does the program install and run where there is no network? Run by hand before a release; takes minutes.

    python Testing/packaging/check_install.py [--folder DIR]

1. builds the wheel from this checkout and downloads what it needs into a wheelhouse (this step uses the network);
2. installs it into an empty environment from the wheelhouse alone;
3. runs ``deepreg2d3d demo`` there, in an empty folder, on the weights in the wheel.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def run(title: str, command: list[str], **options: object) -> str:
    """Run a step, tell how long it took, and return what it printed; stop where it fails."""
    start = time.monotonic()
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, **options)
    print(f"{time.monotonic() - start:7.1f} s  {title}", flush=True)
    if done.returncode:
        sys.exit(f"{done.stdout}\n{title}: exit status {done.returncode}")
    return done.stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="where to work (default: a temporary folder, removed)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        check((options.folder or Path(temporary)).resolve())


def check(folder: Path) -> None:
    """All three steps in a folder."""
    wheelhouse, empty = folder / "wheelhouse", folder / "empty"
    empty.mkdir(parents=True)
    pip = [sys.executable, "-m", "pip"]
    run("wheel and its dependencies downloaded", [*pip, "wheel", "-q", str(ROOT), "-w", str(wheelhouse)])
    size = sum(path.stat().st_size for path in wheelhouse.iterdir())
    [own] = wheelhouse.glob("deepreg2d3d-*.whl")
    print(f"           {own.name}: {own.stat().st_size / 1e6:.1f} MB; wheelhouse {size / 1e6:.0f} MB")

    venv.create(folder / "venv", with_pip=True)
    scripts = folder / "venv" / ("Scripts" if sys.platform == "win32" else "bin")
    # Without settings of this machine: they may name other places to find packages.
    bare = {key: value for key, value in os.environ.items() if not key.startswith(("PIP_", "PYTHON"))}
    bare["PIP_CONFIG_FILE"] = os.devnull
    offline = ["install", "-q", "--no-index", "--find-links", str(wheelhouse), "deepreg2d3d"]
    run("installed from the wheelhouse alone", [str(scripts / "python"), "-m", "pip", *offline], env=bare)
    printed = run("deepreg2d3d demo", [str(scripts / "deepreg2d3d"), "demo"], cwd=empty, env=bare)
    print(printed.rstrip())
    if not (empty / "demo-out" / "overview.png").is_file():
        sys.exit("The demo left no overview.png.")


if __name__ == "__main__":
    main()
