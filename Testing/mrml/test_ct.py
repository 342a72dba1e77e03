"""A CT on its way to the engine: by its file, or slab by slab."""

import numpy as np
import pytest
import slicer
from DeepReg2D3DLib.mrml import ct
from DeepReg2D3DLib.mrml.frames import grid_to_ras, vtk_from_matrix
from DeepReg2D3DLib.worker.arrays import ArrayFolder

GRID = np.array([[1.0, 0, 0, -10], [0, 2, 0, 20], [0, 0, 3, -30], [0, 0, 0, 1]])


@pytest.fixture
def folder():
    folder = ArrayFolder.create()
    yield folder
    folder.remove()


def make_ct(scene, dtype="int16", shape=(20, 30, 40)):
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "CT")
    values = np.random.default_rng(0).integers(0, 100, shape).astype(dtype)
    slicer.util.updateVolumeFromArray(node, values)
    node.SetIJKToRASMatrix(vtk_from_matrix(grid_to_ras(GRID)))
    return node


@pytest.mark.parametrize(
    ("dtype", "stored"),
    [("int16", "int16"), ("uint8", "int16"), ("uint16", "uint16"), ("float32", "float32"), ("float64", "float32")],
)
def test_slabs_make_the_whole_ct(scene, folder, monkeypatch, dtype, stored):
    monkeypatch.setattr(ct, "SLAB_BYTES", 10_000)
    node = make_ct(scene, dtype)
    transfer = ct.CtTransfer(node, folder)
    shares = []
    while not transfer.done:
        shares.append(transfer.step())
    assert len(shares) > 3 and shares == sorted(shares) and shares[-1] == 1
    copy = folder.open(transfer.array_ref)
    assert copy.dtype.name == stored
    np.testing.assert_array_equal(copy, slicer.util.arrayFromVolume(node))
    np.testing.assert_allclose(transfer.ijk_to_ct, GRID)


def test_a_cancelled_transfer_leaves_no_file(scene, folder):
    transfer = ct.CtTransfer(make_ct(scene), folder)
    transfer.cancel()
    assert list(folder.path.iterdir()) == []


def test_a_ct_that_changes_its_size_on_the_way_is_refused(scene, folder, monkeypatch):
    monkeypatch.setattr(ct, "SLAB_BYTES", 10_000)
    node = make_ct(scene)
    transfer = ct.CtTransfer(node, folder)
    transfer.step()
    slicer.util.updateVolumeFromArray(node, np.zeros((3, 3, 3), np.int16))
    with pytest.raises(ct.CtError):
        transfer.step()


def test_an_unchanged_file_is_left_to_the_engine(scene, tmp_path):
    node = make_ct(scene)
    assert isinstance(ct.ct_source(node), ct.CtArray)  # never saved
    node.AddDefaultStorageNode()
    storage = node.GetStorageNode()
    storage.SetFileName(str(tmp_path / "ct.nrrd"))
    assert storage.WriteData(node)
    source = ct.ct_source(node)
    assert isinstance(source, ct.CtFile) and source.path == tmp_path / "ct.nrrd"
    assert source.shape == (20, 30, 40)
    np.testing.assert_allclose(source.ijk_to_ct, GRID)
    slicer.util.arrayFromVolume(node)[0, 0, 0] = 7
    slicer.util.arrayFromVolumeModified(node)
    assert isinstance(ct.ct_source(node), ct.CtArray)


def test_a_loaded_file_that_is_gone_is_handed_over(scene, tmp_path):
    node = make_ct(scene)
    node.AddDefaultStorageNode()
    node.GetStorageNode().SetFileName(str(tmp_path / "ct.nrrd"))
    assert node.GetStorageNode().WriteData(node)
    (tmp_path / "ct.nrrd").unlink()
    assert isinstance(ct.ct_source(node), ct.CtArray)


def test_the_centre_is_the_middle_of_the_voxel_grid(scene):
    np.testing.assert_allclose(ct.ct_centre(make_ct(scene)), (GRID @ [19.5, 14.5, 9.5, 1])[:3])


def test_an_empty_node_is_refused_in_words(scene):
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "nothing")
    with pytest.raises(ct.CtError, match="'nothing' holds no image"):
        ct.ct_source(node)
