"""Says in the report why the other tests of this folder are missing, where they are (see conftest.py)."""

import pytest


def test_slicer_core_is_installed():
    reason = "the MRML tests need slicer-core: pip install 'slicer-core==5.12.*'"
    slicer = pytest.importorskip("slicer", reason=reason)
    pytest.importorskip("vtk", reason=reason)
    assert hasattr(slicer, "vtkMRMLScene"), "the package 'slicer' here is another project's; install slicer-core"
