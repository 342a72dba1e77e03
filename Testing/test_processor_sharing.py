"""Threads that wait briefly: what the OpenMP library is told, and that a user's own choice stands."""

import os
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest
from DeepReg2D3DLib.processor_sharing import SPINS, wait_briefly
from DeepReg2D3DLib.worker import __main__ as worker_main

LIBRARY = Path(__file__).resolve().parents[1] / "DeepReg2D3D"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="GNU OpenMP comes with torch on Linux")
@pytest.mark.parametrize(
    "program",
    [
        "from DeepReg2D3DLib.cli import main; main(['--version'])",
        # The worker serves until its stdin ends and then leaves at once: here it has nothing to serve.
        "from DeepReg2D3DLib.worker import __main__ as worker; from unittest import mock; "
        "worker.Server = worker.ArrayFolder = mock.Mock(); "
        "worker.main(['--threads', '1'])",
    ],
    ids=["command", "worker"],
)
def test_programs_tell_openmp_before_torch_loads_it(program):
    environment = {k: v for k, v in os.environ.items() if k not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    environment |= {"OMP_DISPLAY_ENV": "verbose", "PYTHONPATH": str(LIBRARY)}
    done = subprocess.run(
        [sys.executable, "-c", f"{program}; import torch"],
        env=environment,
        input="",
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert f"GOMP_SPINCOUNT = '{SPINS}'" in done.stderr


@pytest.mark.parametrize("name, value", [("GOMP_SPINCOUNT", "7"), ("OMP_WAIT_POLICY", "ACTIVE")])
def test_a_choice_of_the_user_stands(monkeypatch, name, value):
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    monkeypatch.setenv(name, value)
    wait_briefly()
    assert os.environ.get("GOMP_SPINCOUNT") == ("7" if name == "GOMP_SPINCOUNT" else None)
    assert os.environ[name] == value


@pytest.mark.parametrize("chosen", [None, "7"])
def test_a_worker_keeps_few_compiled_kernels_unless_told_otherwise(monkeypatch, tmp_path, chosen):
    name = "DNNL_PRIMITIVE_CACHE_CAPACITY"
    # What the worker sets in this process is taken back after the test.
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "GOMP_SPINCOUNT", name):
        monkeypatch.setenv(variable, os.environ.get(variable, "1"))
    monkeypatch.delenv(name) if chosen is None else monkeypatch.setenv(name, chosen)
    monkeypatch.setattr(worker_main, "Server", mock.Mock())
    monkeypatch.setattr(worker_main, "own_streams", lambda: (None, None))
    worker_main.main(["--threads", "1", "--folder", str(tmp_path)])
    assert os.environ[name] == (chosen or worker_main.KERNELS)
