"""What the benchmarks compute from their times; the times themselves are nobody's to test."""

import importlib.util
import math
import sys
from pathlib import Path

import pytest
import torch
from DeepReg2D3DLib.training.config import SampleConfig
from DeepReg2D3DLib.training.volumes import VolumeSettings, prepare_volume, save_prepared
from small_case import small_volume

FOLDER = Path(__file__).resolve().parent / "benchmarks"


def benchmark(name: str):
    """A benchmark's module under a name of its own ('registration' is the engine's, too)."""
    spec = importlib.util.spec_from_file_location(f"benchmark_{name}", FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    before = list(sys.path)
    sys.path.insert(0, str(FOLDER))
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path[:] = before
    return module


def row(initial, ours_s, ours_mrpd, peer_s, peer_mrpd):
    return {
        "initial_mtre_mm": initial,
        "ours_s": ours_s,
        "ours_cpu_s": ours_s,
        "ours_success": int(ours_mrpd <= 2),
        "nanodrr_s": peer_s,
        "nanodrr_cpu_s": 2 * peer_s,
        "nanodrr_success": int(peer_mrpd <= 2),
    }


def test_a_registration_is_summed_up_by_medians_and_by_bins_of_10_mm():
    rows = [row(3.0, 1.0, 0.1, 40.0, 0.1), row(9.9, 2.0, 0.1, 100.0, 5.0), row(10.0, 9.0, 9.0, 200.0, 9.0)]
    found = benchmark("registration").summary(rows)
    assert found["ours_median_s"] == 2.0
    assert found["times_faster"] == 50.0
    assert found["times_faster_cpu"] == 100.0
    assert [(b["from_mm"], b["runs"], b["ours_successes"], b["nanodrr_successes"]) for b in found["bins"]] == [
        (0.0, 2, 2, 1),
        (10.0, 1, 0, 0),
    ]


def test_without_the_peer_there_is_no_ratio():
    rows = [{key: value for key, value in row(3.0, 1.0, 0.1, 0, 0).items() if "nanodrr" not in key}]
    assert "times_faster" not in benchmark("registration").summary(rows)


def test_growth_is_the_exponent_of_a_power_law():
    tools = benchmark("bench_tools")
    assert tools.growth([128**3, 256**3, 512**3], [0.1, 0.8, 6.4]) == pytest.approx(1.0)
    assert tools.growth([1, 2, 4], [1, 4, 16]) == pytest.approx(2.0)
    assert math.isnan(tools.growth([2, 2], [1, 3]))


def test_times_of_the_main_thread_are_summed_up_on_the_wall_and_on_the_processor():
    main_thread = benchmark("main_thread")
    found = main_thread.summary([(10.0, 1.0), (60.0, 3.0), (20.0, 2.0)])
    assert found["count"] == 3
    assert (found["wall_median_ms"], found["wall_longest_ms"]) == (20.0, 60.0)
    assert (found["cpu_median_ms"], found["cpu_95_ms"], found["cpu_longest_ms"]) == (2.0, 3.0, 3.0)
    assert main_thread.summary([]) == {}
    clock = main_thread.Clock()
    clock.phase = "p"
    assert clock.event(lambda: clock.event(lambda: 7, lambda: "inner"), lambda: "outer") == 7
    assert [label for _wall, _cpu, label in clock.events["p"]] == ["outer"]  # an inner event is part of the outer one


VARIANTS = ("all", "no-collimator", "no-detector", "ideal")


@pytest.fixture(scope="module")
def training_pools():
    return benchmark("training_pools")


@pytest.fixture(scope="module")
def pool(training_pools, tmp_path_factory):
    """Eight X-rays of a small phantom in some variants."""
    settings = VolumeSettings(drr_spacing=5.0, xray_spacing=4.0, surface_points=4000)
    prepared = prepare_volume(small_volume(), torch.Generator().manual_seed(0), settings, vary=False)
    path = tmp_path_factory.mktemp("pool") / "train_0000_phantom.npz"
    save_prepared(prepared, path)
    config = SampleConfig(rows=32, columns=40, points=48, starts_per_xray=2, fine_share=0.0)
    return training_pools.make_pool([path], config, VARIANTS, 8, seed=1)


def shared_fields(batch) -> dict[str, torch.Tensor]:
    return {name: value for name, value in vars(batch).items() if name not in ("xray", "mask")}


def test_variants_of_a_pool_differ_in_the_xray_alone(training_pools, pool):
    assert len(pool) == 8
    batches = {name: training_pools.batches_of(pool, name) for name in VARIANTS}
    for number, first in enumerate(batches["all"]):
        assert first.valid.any(-1).all() and len(first.xray) == 4 and len(first.drr) == 8
        for name in VARIANTS[1:]:
            other = batches[name][number]
            for field, value in shared_fields(first).items():
                assert torch.equal(value, getattr(other, field)), (name, field)
    xrays = {name: torch.cat([batch.xray for batch in each]) for name, each in batches.items()}
    masks = {name: torch.cat([batch.mask for batch in each]) for name, each in batches.items()}
    for one, two in (("all", "ideal"), ("all", "no-detector"), ("no-detector", "ideal")):
        assert (xrays[one] != xrays[two]).flatten(1).any(1).all()
    assert masks["no-collimator"].all() and masks["ideal"].all() and not masks["all"].all()
    for number, ideal in enumerate(xrays["ideal"]):  # the same views in the same order
        pairs = [torch.stack([ideal.flatten(), other.flatten()]) for other in xrays["no-collimator"]]
        alike = [float(torch.corrcoef(pair)[0, 1]) for pair in pairs]
        assert alike[number] == max(alike)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_saved_pool_comes_back(training_pools, pool, variant, tmp_path):
    pool.save(tmp_path / "pool.npz")
    assert [path.name for path in tmp_path.iterdir()] == ["pool.npz"]
    loaded = training_pools.Pool.load([tmp_path / "pool.npz"], variant)
    assert loaded.images.keys() == {variant} and loaded.arrays.keys() == pool.arrays.keys()
    before, after = (training_pools.batches_of(each, variant) for each in (pool, loaded))
    for one, two in zip(before, after, strict=True):
        assert all(torch.equal(value, getattr(two, name)) for name, value in vars(one).items())


def test_a_pool_is_drawn_from_by_the_generator_alone(training_pools, pool):
    drawn = {
        (name, seed): training_pools.PoolSource(pool, name).batch(5, torch.Generator().manual_seed(seed))
        for name in ("all", "ideal")
        for seed in (3, 4)
    }
    again = training_pools.PoolSource(pool, "all").batch(5, torch.Generator().manual_seed(3))
    assert all(torch.equal(value, getattr(again, name)) for name, value in vars(drawn["all", 3]).items())
    for field, value in shared_fields(drawn["all", 3]).items():
        assert torch.equal(value, getattr(drawn["ideal", 3], field)), field
    assert not torch.equal(drawn["all", 3].truth, drawn["all", 4].truth)
    assert len(drawn["all", 3].xray) == 5 and len(drawn["all", 3].truth[::2].unique(dim=0)) == 5
