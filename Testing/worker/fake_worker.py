"""A worker process whose engine does what the tests tell it: slow, failing, crashing, silent. Run as a script."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "DeepReg2D3D"))

from DeepReg2D3DLib.engine.watch import working_on
from DeepReg2D3DLib.worker import __main__ as worker_main


class OutOfMemoryError(RuntimeError):
    """As torch's, known by its name."""


def look_about():
    """A search of half a minute."""
    for _ in range(3000):
        working_on("Looking about")
        time.sleep(0.01)


ENDLESS = ("endless", "looks elsewhere")


class FakeEngine:
    """``method`` of a run says how it behaves; the CT's and X-rays' names say the same for loading."""

    def __init__(self, folder):
        self.folder, self.ct, self.views, self.on_gpu, self.renders = folder, None, [], True, 0
        self.looks = 0

    def info(self):
        return {"device": "cuda" if self.on_gpu else "cpu", "device_name": "GPU" if self.on_gpu else "CPU"}

    def fall_back_to_cpu(self):
        was, self.on_gpu = self.on_gpu, False
        return was

    def handle(self, request, progress):
        fields = request.fields
        if request.type == "load_ct":
            if fields["name"] == "crash":
                os.abort()
            progress("Loading", 0.5)
            self.ct = fields["name"]
            total = float(np.asarray(self.folder.open(fields["array"]), np.float64).sum()) if "array" in fields else 0.0
            return {"name": self.ct, "centre": [0, 0, 0], "shape": [1, 1, 1], "sum": total}
        if request.type == "set_views":
            self.views = [view["name"] for view in fields["views"]]
            means = [float(self.folder.open(view["image"]).mean()) for view in fields["views"] if "image" in view]
            return {"views": self.views, "means": means}
        if request.type == "render":
            if fields.get("views") == ["none such"]:
                raise ValueError("no such view")
            self.renders += 1
            time.sleep(0.05)
            pose = fields["ct_to_world"]
            image = np.full((16, 16), pose[0][3], np.float32)
            view = {"name": "AP", "camera": {"columns": 16, "rows": 16}, "drr": image}
            return {"pose": pose, "views": [view], "seconds": 0.05, "count": self.renders}
        if request.type == "bone_surface":
            print("a library prints this to stdout", flush=True)
            os.write(1, b"and C code this\n")
            return {
                "points": np.arange(3_000_000, dtype=np.float32).reshape(-1, 3),
                "triangles": np.zeros((0, 3), "i4"),
            }
        if request.type == "read_pose":
            time.sleep(float(fields["path"]))
            return {"ct_to_world": np.eye(4).tolist()}
        if request.type == "initial_pose":
            look_about()
            return {"ct_to_world": np.eye(4).tolist()}
        raise ValueError(f"no {request.type} here")

    def register(self, fields):
        if self.ct is None:
            raise ValueError("no CT")
        return self.iterations(fields)

    def iterations(self, fields):
        pose = np.array(fields["ct_to_world"])
        self.began, self.method, self.looks, self.checked = pose, fields["method"], 0, False
        method = self.method
        for index in range(100_000 if method in ENDLESS else 6):
            if index:
                time.sleep(0.03)
                pose = pose.copy()
                pose[0, 3] += 1
            if index == 3 and method == "crash":
                os.abort()
            if index == 3 and method == "fails":
                raise RuntimeError("three is too many")
            if index == 3 and method == "memory" and self.on_gpu:
                raise OutOfMemoryError("CUDA out of memory")
            if index == 3 and method == "looks":
                look_about()
            if index == 3 and method == "stuck":
                time.sleep(3600)
            self.index = index
            yield self.record(index, pose, final=index == 5 and method not in ENDLESS)

    def record(self, index, pose, final):
        view = {
            "name": "AP",
            "camera": {"columns": 64, "rows": 48},
            "drr": np.full((48, 64), index, np.float32),
            "contour_pixels": np.zeros((100, 2), np.float32),
            "weights": np.ones(100, np.float32),
            "flow": np.ones((100, 2), np.float32),
        }
        return {
            "index": index,
            "pose": pose.tolist(),
            "motion_mm": 1.0,
            "points": 100,
            "similarity": float("nan") if index == 0 else 0.5,
            "seconds": 0.03,
            "final": final,
            "status": "converged" if final else "",
            "views": [view],
        }

    def kept(self):
        """A run of 'looks elsewhere' goes back to where it began."""
        return self.record(self.index + 1, self.began, False) if self.method == "looks elsewhere" else None

    def report(self):
        return {"method": "fake", **({"looks": self.looks} if self.checked else {})}

    def check(self):
        """Takes half a minute the first time where the method says so; that look must be given up by then."""
        self.looks += 1
        if self.method == "looks long" and self.looks == 1:
            look_about()
        if self.method == "cannot look":
            raise ValueError("nothing to see")
        self.checked = True


if __name__ == "__main__":
    if "--no-engine" in sys.argv:
        sys.argv.remove("--no-engine")

        def make_engine(folder):
            raise ModuleNotFoundError("No module named 'torch'", name="torch")
    else:
        make_engine = FakeEngine
    worker_main._make_engine = make_engine
    worker_main.main()
