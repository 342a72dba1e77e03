"""Fixtures that every test folder shares."""

import os
from pathlib import Path

import pytest
import torch
from hypothesis import settings

# Test processes side by side, and the programs that they start, share the cores.
_SIDE_BY_SIDE = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
_THREADS = max(1, min(2, torch.get_num_threads() // _SIDE_BY_SIDE))
torch.set_num_threads(_THREADS)
os.environ.setdefault("OMP_NUM_THREADS", str(_THREADS))
# Nothing is timed in a unit test: a busy machine is no failure.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real CTs and X-rays beside the checkout; tests that need it are skipped where it is absent."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"the real CTs and X-rays are not on this machine ({folder} does not exist)")
    return folder


@pytest.fixture(scope="session")
def small_case(tmp_path_factory) -> Path:
    """A case folder that registers in a second or two (see Testing/support/small_case.py). Not to be written to."""
    from small_case import write_small_case

    return write_small_case(tmp_path_factory.mktemp("small") / "case")
