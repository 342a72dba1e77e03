"""Bad input to every other command: what was given, and the message it must get (exit status 2, one line)."""

import io
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from cli_calls import changed_json, refusal
from DeepReg2D3DLib import cli

PLAIN = "1 0 0 0\n0 1 0 0\n0 0 1 0\n"


def said(message: str, found: str) -> None:
    assert re.search(message, found), found


def cased(change):
    """A copy of the small case whose case.json was changed."""

    def make(case: Path, folder: Path) -> Path:
        shutil.copytree(case, folder / "case", dirs_exist_ok=True)
        changed_json(case / "case.json", folder / "case" / "case.json", change)
        return folder / "case"

    return make


def twins(case: Path, folder: Path) -> Path:
    for name in ("a", "b"):
        shutil.copytree(case, folder / "cases" / name)
    return folder / "cases"


CASES = {
    "no such folder": (lambda case, folder: folder / "nowhere", "there is no case.json in it"),
    "a file": (lambda case, folder: case / "ct.nrrd", "there is no case.json in it"),
    "no truth": (cased(lambda c: c.pop("ground_truth") and c), "has no ground_truth in its case.json"),
    "no targets": (cased(lambda c: c.pop("targets") and c), "has no targets in its case.json"),
    "targets beyond the earth": (cased(lambda c: c.update(targets=[[1e308, 0, 0]])), "targets: a target lies farther"),
    "targets in two dimensions": (cased(lambda c: c.update(targets=[[1, 2]])), "expected a list of 3 numbers"),
    "a start beyond the earth": (
        cased(lambda c: c["starts"][0]["ct_to_world"][0].__setitem__(3, 1e300)),
        "farther than 100 m",
    ),
    "starts of one id": (cased(lambda c: c["starts"][1].update(id="000")), "the id '000' is there twice"),
    "CT elsewhere": (cased(lambda c: c.update(ct="../../ct.nrrd")), "leaves the folder of the file"),
    "CT with an absolute path": (cased(lambda c: c.update(ct="/etc/passwd")), "leaves the folder of the file"),
    "truth elsewhere": (cased(lambda c: c.update(ground_truth="../pose.json")), "leaves the folder of the file"),
    "no geometry": (cased(lambda c: c.update(geometry="g.json")), "g.json: cannot be read"),
    "two of one name": (twins, "hold cases of the same name, 'small'; rename one"),
}


@pytest.mark.parametrize("name", CASES)
def test_bad_cases_of_evaluate(name, small_case, tmp_path, capsys):
    make, message = CASES[name]
    cases = make(small_case, tmp_path)
    said(message, refusal(capsys, "evaluate", "--cases", cases, "--method", "dppc", "--out", tmp_path / "out"))
    assert not (tmp_path / "out").exists()


RESULTS = {
    "a table of something else": ("starts.csv", b"a,b\n1,2\n", "its columns are not those of an evaluation"),
    "a picture for a table": ("starts.csv", b"\xff\xfe\x00\n", "is not a table of an evaluation; choose another --out"),
    "a row with a word for a number": (
        "starts.csv",
        b"case,view,method,preset,start_id,initial_mtre_mm,final_mtre_mm,final_mrpd_mm,success,seconds,iterations,"
        b"status,confidence\nx,AP,dppc,fast,0,much,1,1,1,1,1,converged,\n",
        "line 2 cannot be read .* choose another --out",
    ),
    "half a run.json": ("run.json", b"{", "run.json: is not valid JSON"),
    "a run.json with a list": (
        "run.json",
        b'{"format": "deepreg2d3d-evaluation", "version": 1, "made_of": []}',
        "made_of: expected an object",
    ),
}


@pytest.mark.parametrize("name", RESULTS)
def test_bad_earlier_results_of_evaluate(name, small_case, tmp_path, capsys):
    file, content, message = RESULTS[name]
    (tmp_path / file).write_bytes(content)
    said(message, refusal(capsys, "evaluate", "--cases", small_case, "--method", "dppc", "--out", tmp_path))
    assert (tmp_path / file).read_bytes() == content  # nothing of the user's is lost


TABLES = {
    "empty": ("", "holds no row below its line of column names"),
    "no row": ("ct,geometry\n", "holds no row"),
    "no text": (b"\xff\x00\x01", "is not a text file in UTF-8"),
    "UTF-16": ("ct,geometry\nct.nrrd,geometry.json\n".encode("utf-16"), "is not a text file in UTF-8"),
    "semicolons": ("ct;geometry\nct.nrrd;geometry.json\n", "its first line must name the columns"),
    "no CT column": ("geometry\ngeometry.json\n", "its first line must name the columns"),
    "a short row": ("ct,geometry\nct.nrrd\n", "line 2 has not as many values"),
    "an open quote": ('ct,geometry\n"ct.nrrd,geometry.json\n', "line 2 (has not as many|needs a ct)"),
    "neither X-rays nor geometry": ("ct,geometry\nct.nrrd,\n", "line 2 needs a ct, and xrays or a geometry"),
    "the folder above": ("name,ct,geometry\n..,ct.nrrd,geometry.json\n", "can't be the name of a folder"),
    "another folder": ("name,ct,geometry\n/tmp/x,ct.nrrd,geometry.json\n", "can't be the name of a folder"),
    "a device of Windows": ("name,ct,geometry\nCON,ct.nrrd,geometry.json\n", "can't be the name of a folder"),
    "a name without end": (f"name,ct,geometry\n{'n' * 300},ct.nrrd,geometry.json\n", "can't be the name of a folder"),
    "the summary's name": ("name,ct,geometry\nsummary.csv,ct.nrrd,geometry.json\n", "can't be the name of a folder"),
    "names of one spelling": ("name,ct,geometry\na,c,g\nA,c,g\n", "the name 'a' is there twice"),
    "a value without end": (f"ct,geometry\n{'x' * 200_000},g\n", "is not a table .field larger than"),
}


@pytest.mark.parametrize("name", TABLES)
def test_bad_tables_of_batch(name, tmp_path, capsys):
    content, message = TABLES[name]
    table = tmp_path / "table.csv"
    table.write_bytes(content if isinstance(content, bytes) else content.encode())
    said(message, refusal(capsys, "batch", "--list", table, "--method", "dppc", "--out", tmp_path / "out"))


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()


def npy_header(text: bytes) -> bytes:
    text = text.ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


FOREIGN = {
    "an empty matrix": ("m.txt", b"", "holds 0 numbers"),
    "words for numbers": ("m.txt", b"a b c d\n" * 3, "line 1 holds something that is not a number"),
    "not a number": ("m.txt", PLAIN.replace("1", "nan", 1).encode(), "not 3 rows of 4 finite numbers"),
    "a matrix without room": ("m.txt", b"0 0 0 0\n" * 3, "is singular"),
    "numbers that overflow": ("m.txt", PLAIN.replace("1", "1e308").encode(), "view1"),
    "a pickle": ("m.npy", npy(np.array([{"a": 1}], dtype=object)), "is not a NumPy array of plain numbers"),
    "a program for a header": ("m.npy", npy_header(b"__import__('os').abort()"), "is not a NumPy array of plain"),
    "more numbers than memory": (
        "m.npy",
        npy_header(b"{'descr': '<f8', 'fortran_order': False, 'shape': (3, 400000000000), }"),
        "is not a NumPy array of plain",
    ),
    "an XML bomb": ("g.xml", b'<!DOCTYPE a [<!ENTITY b "c"><!ENTITY d "&b;&b;">]><a>&d;</a>', "declares XML entities"),
    "an XML that reads files": (
        "g.xml",
        b'<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>',
        "declares XML entities",
    ),
    "an XML without bottom": ("g.xml", b"<a>" * 100_000, "is not valid XML"),
    "YAML that runs programs": ("c.yaml", b"!!python/object/apply:os.system ['false']", "is not 'name: value'"),
    "JSON without bottom": ("c.json", b"[" * 100_000, "nested 100000 deep"),
    "an unknown format": ("c.dat", b"x", "what format is this"),
    "a CT": ("c.nrrd", b"NRRD0004", "what format is this"),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_bad_foreign_geometries(name, tmp_path, capsys):
    file, content, message = FOREIGN[name]
    (tmp_path / file).write_bytes(content)
    words = ["--coordinates", "LPS", "--size", "128", "112", "--out", tmp_path / "geometry.json"]
    said(message, refusal(capsys, "geometry", "--in", tmp_path / file, *words))
    assert not (tmp_path / "geometry.json").exists()


OPTIONS = {
    "no input": ("geometry", "Give DICOM X-rays with --xray, or a geometry"),
    "spacing below zero": ("geometry --in {case}/geometry.json --spacing -1 1", "--spacing: -1 x 1 mm cannot be"),
    "spacing that is none": ("geometry --in {case}/geometry.json --spacing nan 1", "--spacing: nan"),
    "detector without end": ("geometry --in {case}/geometry.json --origin inf 0", "--origin: inf, 0 mm is no place"),
    "image without end": ("geometry --in {case}/geometry.json --size 9999999 9", "more than an X-ray image has"),
    "shard after the last": ("batch --list {case} --method dppc --shard 3/2 --out {tmp}/o", "expected i/n"),
    "shard in words": ("batch --list {case} --method dppc --shard one --out {tmp}/o", "expected i/n"),
    "result into a file": ("batch --list {case} --method dppc --out {case}/ct.nrrd", "is a file, or lies in one"),
    "evaluation into a file": (
        "evaluate --cases {case} --method dppc --out {case}/ct.nrrd/x",
        "is a file, or lies in one",
    ),
    "no starts": ("evaluate --cases {case} --starts 0 --out {tmp}/o", "from 1 upwards, found '0'"),
    "seed without end": (f"evaluate --cases {{case}} --seed {'9' * 30} --out {{tmp}}/o", "at most 18 digits"),
    "seed in words": ("simulate --ct c --geometry g --seed x --out {tmp}/o", "at most 18 digits, found 'x'"),
    "picture of no format": (
        "drr --ct {case}/ct.nrrd --geometry {case}/geometry.json --out {tmp}/d.doc",
        "an image is written as",
    ),
    "picture into a file": (
        "drr --ct {case}/ct.nrrd --geometry {case}/geometry.json --out {case}/ct.nrrd/d.nrrd",
        "is a file, or lies in one",
    ),
    "demo into a file": ("demo --out {case}/ct.nrrd", "is a file, or lies in one"),
    "no device": ("drr --ct c --geometry g --device tpu --out d.nrrd", "invalid choice: 'tpu'"),
    "no method": ("register --ct c --method magic --out o", "invalid choice: 'magic'"),
    "two first poses": (
        "register --ct c --geometry {case}/geometry.json --init x.json --landmarks y.json --method dppc --out o",
        "both give a first pose",
    ),
    "neither geometry nor DICOM": (
        "register --ct c --xray {case}/AP.nrrd --method dppc --out {tmp}/o",
        "is no DICOM file, so it has no geometry",
    ),
    "fewer X-rays than views": (
        "register --ct c --geometry {case}/geometry.json --xray a.png --method dppc --out o",
        "1 images were given for 2 views",
    ),
    "no frame": ("register --ct c --frame zero --out o", "expected a frame number from 1"),
    "no weights": (
        "register --ct c --geometry {case}/geometry.json --method ppc-flow-attention --weights {case} --out o",
        "--method dppc|weights",
    ),
    "training without end": ("train --out {tmp}/o", "Give a budget"),
    "training for no time": ("train --minutes 0 --out {tmp}/o", "--minutes is a time above 0"),
    "training for no number": ("train --minutes nan --out {tmp}/o", "--minutes is a time above 0, found nan"),
    "a share above one": ("train --steps 1 --decay 7 --out {tmp}/o", "--decay is a share between 0 and 1"),
    "no setting": ("train --steps 1 --set colour=1 --out {tmp}/o", "There is no training setting 'colour'"),
    "a method for a setting": ("train --steps 1 --set as_dict=1 --out {tmp}/o", "There is no training setting"),
    "no value": ("train --steps 1 --set xrays --out {tmp}/o", "expected NAME=VALUE"),
    "no X-rays": ("train --steps 1 --set xrays=0 --out {tmp}/o", "'xrays': expected a number from 1 upwards"),
    "no rows": ("train --steps 1 --set sample.rows=-3 --out {tmp}/o", "'sample.rows': expected a number from 1"),
    "rate that is none": (
        "train --steps 1 --set learning_rate=NaN --out {tmp}/o",
        "'learning_rate': expected a number",
    ),
    "no network": ("train --steps 1 --set architecture=magic --out {tmp}/o", "Unknown network 'magic'"),
    "no stage": ("train --steps 1 --set stage=last --out {tmp}/o", "Training stage 'last' is unknown"),
    "no CTs": ("train --steps 1 --cts {tmp}/nowhere --out {tmp}/o", "there is no such folder of CTs"),
    "no CTs in the folder": ("train --steps 1 --cts {tmp} --out {tmp}/o", "it holds no CT"),
    "no meshes": ("train --steps 1 --skeletons {tmp}/nowhere --out {tmp}/o", "no such folder of bone meshes"),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_bad_options(name, small_case, tmp_path, capsys):
    command, message = OPTIONS[name]
    said(message, refusal(capsys, *command.format(case=small_case, tmp=tmp_path).split()))


def mark(name: str, point: list, **clicks: list) -> dict:
    seen = [{"view": view, "pixel": pixel} for view, pixel in clicks.items()]
    return {"name": name, "ct_mm": point, "clicks": seen}


def spread(change):
    """Six landmarks apart from each other, ``change(index)`` being the clicks of each."""
    return [mark(f"m{i}", [10 * i, 7 * (i * i % 5), 3 * i * i], **change(i)) for i in range(6)]


LANDMARKS = {
    "none": ([], "0 landmarks with clicks are too few"),
    "without clicks": (spread(lambda i: {}), "0 landmarks with clicks are too few"),
    "on one point": ([mark(f"m{i}", [0, 0, 0], AP=[60, i], LAT=[60, i]) for i in range(6)], "of each other in the CT"),
    "on one line": ([mark(f"m{i}", [0, 0, 9 * i], AP=[60, i], LAT=[60, i]) for i in range(6)], "on one line"),
    "in no view": ([mark("m", [0, 0, 0], PA=[1, 2])], "there is no view 'PA'; the geometry has AP, LAT"),
    "of one name": ([mark("m", [0, 0, 0]), mark("m", [1, 0, 0])], "a landmark 'm' is there already"),
    "beyond numbers": (spread(lambda i: {"AP": [1e300 * i, 5], "LAT": [6, 1e300]}), "No pose puts the landmarks"),
}


@pytest.mark.parametrize("name", LANDMARKS)
def test_bad_landmarks(name, small_case, tmp_path, capsys):
    marks, message = LANDMARKS[name]
    content = {"format": "deepreg2d3d-landmarks", "version": 1, "coordinate_system": "LPS", "landmarks": marks}
    (tmp_path / "marks.json").write_text(json.dumps(content))
    words = ["--geometry", small_case / "geometry.json", "--landmarks", tmp_path / "marks.json"]
    said(message, refusal(capsys, "landmarks", *words, "--out", tmp_path / "pose.json"))
    assert not (tmp_path / "pose.json").exists()


def test_clicks_that_contradict_each_other_are_not_believed(small_case, tmp_path, capsys):
    marks = spread(lambda i: {"AP": [37 * i % 128, 91 * i % 112], "LAT": [53 * i % 128, 71 * i % 112]})
    content = {"format": "deepreg2d3d-landmarks", "version": 1, "coordinate_system": "LPS", "landmarks": marks}
    (tmp_path / "marks.json").write_text(json.dumps(content))
    words = ["--geometry", str(small_case / "geometry.json"), "--landmarks", str(tmp_path / "marks.json")]
    assert cli.main(["landmarks", *words, "--out", str(tmp_path / "pose.json")]) == 3
    assert "contradict each other" in capsys.readouterr().err


WEIGHTS = {
    "no list": (b"{", "the list of network weights cannot be read"),
    "a list of something else": (b'{"format": "x", "networks": {}}', "the list of network weights cannot be read"),
    "networks in a list": (b'{"format": "deepreg2d3d-models", "networks": []}', "the list of network weights cannot"),
    "an entry in words": (b'{"format": "deepreg2d3d-models", "networks": {"dppc-attention-weights": 1}}', "No trained"),
    "a file elsewhere": (
        b'{"format": "deepreg2d3d-models", "networks": {"dppc-attention-weights": {"file": "../ct.nrrd"}}}',
        "are missing",
    ),
    "a file that was altered": (
        b'{"format": "deepreg2d3d-models", "networks": {"dppc-attention-weights": {"file": "w.pt", "sha256": "0"}}}',
        "was altered or cut off",
    ),
}


@pytest.mark.parametrize("name", WEIGHTS)
def test_bad_weights(name, small_case, tmp_path, capsys):
    manifest, message = WEIGHTS[name]
    (tmp_path / "manifest.json").write_bytes(manifest)
    (tmp_path / "w.pt").write_bytes(b"weights")
    words = ["--ct", small_case / "ct.nrrd", "--geometry", small_case / "geometry.json", "--weights", tmp_path]
    found = refusal(capsys, "register", *words, "--method", "dppc-attention", "--out", tmp_path / "out")
    if "No trained" not in message:  # the installed weights then serve
        said(message, found)


def test_views_named_like_the_ct_do_not_overwrite_it(small_case, tmp_path, capsys):
    """And not each other, whatever they are called."""

    def rename(content):
        for view, name in zip(content["views"], ("CT", "con"), strict=True):
            view.update(name=name)
            view.pop("image")

    geometry = changed_json(small_case / "geometry.json", tmp_path / "geometry.json", rename)
    words = ["--ct", small_case / "ct.nrrd", "--geometry", geometry, "--pose", small_case / "pose.json"]
    assert cli.main([str(word) for word in ["simulate", *words, "--out", tmp_path / "case"]]) == 0
    again = ["--ct", tmp_path / "case" / "ct.nrrd", "--geometry", tmp_path / "case" / "geometry.json"]
    assert cli.main([str(word) for word in ["drr", *again, "--out", tmp_path / "d.nrrd"]]) == 0
    named = json.loads((tmp_path / "case" / "geometry.json").read_text())["views"]
    assert len({view["image"] for view in named} | {"ct.nrrd"}) == 3
