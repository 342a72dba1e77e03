"""report.html: one file with everything in it, true numbers, and no name of a file."""

import re
from html.parser import HTMLParser

import numpy as np
from DeepReg2D3DLib.engine.geometry_file import View, load_geometry
from DeepReg2D3DLib.evaluation.html_page import Safe, figure, page, table
from DeepReg2D3DLib.evaluation.registration_report import ReportInputs, write_registration_report
from DeepReg2D3DLib.evaluation.report_parts import geometry_section, without_paths
from DeepReg2D3DLib.lps_ras import numbers_from_pose, transform_to_ras
from PIL import Image
from small_case import TRUTH, small_volume, start_pose

VOID = {"meta", "img", "br"}


class Checker(HTMLParser):
    """Fails on tags that are not closed in order; gathers text, sources of pictures and links."""

    def __init__(self) -> None:
        super().__init__()
        self.open, self.texts, self.sources, self.tags = [], [], [], []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.sources += [value for name, value in attributes if name in ("src", "href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


def checked(text: str) -> Checker:
    checker = Checker()
    checker.feed(text)
    assert checker.open == []
    assert all(source.startswith("data:image/") for source in checker.sources)
    assert not {"script", "link", "iframe"} & set(checker.tags)
    return checker


def report(confidence=None) -> dict:
    steps = [start_pose(6.0), start_pose(1.0), TRUTH]
    return {
        "method": "dppc", "preset": "fast", "device": "cpu", "status": "converged", "confidence": confidence,
        "confidence_light": "yellow", "confidence_reasons": ["few of the CT's contours are found"],
        "uncertainty": {
            "in_plane_mm": 0.31, "depth_mm": 4.2, "turn_in_plane_deg": 0.1, "turn_out_of_plane_deg": 0.5
        },
        "confidence_components": {"points": 512, "similarity_end": 0.9}, "warnings": ["/home/Quux/ct.nrrd: is odd"],
        "seconds": {"load": 1.0, "setup": 1.0, "register": 2.5}, "ct_to_world": TRUTH.tolist(),
        "iterations": [
            {"ct_to_world": pose.tolist(), "motion_mm": 1.0 * i, "points": 500 * i, "similarity": 0.3 * i,
             "seconds": 0.5}
            for i, pose in enumerate(steps)
        ],
    }  # fmt: skip


def test_a_report_stands_alone_and_tells_the_pose_in_both_frames(small_case, tmp_path):
    views = load_geometry(small_case / "geometry.json")
    for view in views:
        for moment in ("before", "after"):
            Image.new("RGB", (8, 8)).save(tmp_path / f"overlay_{view.name}_{moment}.png")
    volume = small_volume()
    files = {"CT": tmp_path / "/home/Quux/ct.nrrd"}
    path = write_registration_report(tmp_path, report(0.87), ReportInputs(volume, views, "converged", files))
    checker = checked(path.read_text(encoding="utf-8"))
    text = " ".join(checker.texts)
    assert len(checker.sources) == 5  # two views before and after, and a chart
    assert "87 % (yellow)" in text and "few of the CT's contours" in text and "4.2 mm in depth" in text
    assert "Research software" in text and "Quux" not in text and "CT: is odd" in text
    written = [float(number) for number in re.findall(r"-?\d+\.\d{6}", text)]
    for matrix in (TRUTH.numpy(), transform_to_ras(TRUTH.numpy())):
        assert all(any(abs(number - wanted) < 1e-6 for number in written) for wanted in matrix.ravel())
    numbers = numbers_from_pose(TRUTH.numpy(), volume.centre.numpy())
    assert all(f"{value:.2f}" in checker.texts for value in (*numbers.translation, *numbers.angles_deg))
    assert "moved by 6.00 mm; it turned by 1.50°" in text
    assert checker.texts.count("dppc, preset fast, on cpu") == 1


def test_region_confidence_and_agreement_of_the_views_are_told(tmp_path):
    more = {
        "warnings": [],
        "confidence_reasons": ["the edges fit"],
        "uncertainty": {"in_plane_mm": 0.2, "depth_mm": 1.24, "turn_in_plane_deg": 0.1, "turn_out_of_plane_deg": 0.3},
        "region": "L3",
        "adapted_weights": {"deep-iterative-flow": "abc"},
        "views": [{"name": "AP", "edge_similarity": 0.71, "edge_similarity_alone": 0.74, "offset_mm": 0.35}],
    }
    volume = small_volume()
    path = write_registration_report(tmp_path, report(0.9) | more, ReportInputs(volume, [], "converged"))
    text = " ".join(checked(path.read_text(encoding="utf-8")).texts)
    for words in ("90 %", "the edges fit", "1.2 mm in depth", "L3", "deep-iterative-flow", "0.71", "0.74", "0.35"):
        assert words in text, words
    named = ReportInputs(volume, [], "converged", {"region": tmp_path / "Quux.seg.nrrd"})
    path = write_registration_report(tmp_path, report(0.9) | more | {"region": "Quux"}, named)
    assert "Quux" not in path.read_text(encoding="utf-8")


def test_measurements_without_a_value_are_called_so(tmp_path):
    sure = {"in_plane_mm": 0.2, "depth_mm": None, "turn_in_plane_deg": None, "turn_out_of_plane_deg": 0.3}
    views = [{"name": "AP", "edge_similarity": 0.71, "edge_similarity_alone": None, "offset_mm": None}]
    more = {"uncertainty": sure, "views": views, "confidence_components": {"offset_mm": None}}
    path = write_registration_report(tmp_path, report(0.9) | more, ReportInputs(small_volume(), [], "converged"))
    texts = checked(path.read_text(encoding="utf-8")).texts
    assert "0.2 mm in plane, n/a mm in depth, n/a° in plane, 0.3° out of plane" in texts
    assert texts.count("n/a") == 2 and "0.71" in texts


def test_an_unreliable_result_is_called_so(small_case, tmp_path):
    volume = small_volume()
    path = write_registration_report(tmp_path, report(), ReportInputs(volume, [], "unreliable"))
    assert '<p class="alarm">UNRELIABLE' in path.read_text(encoding="utf-8")


def test_assumed_numbers_are_marked_with_their_source(small_case):
    view = load_geometry(small_case / "geometry.json")[0]
    sources = {
        "source_to_detector_mm": "assumed: a usual value",
        "world_to_camera (primary angle)": "file: (0018,1510) <Angle>",
    }
    text = geometry_section([View(view.camera, sources=sources)])
    checked(text)
    assert '<span class="alarm">assumed: a usual value</span>' in text and "check them" in text
    assert "(0018,1510) &lt;Angle&gt;" in text and "the geometry given" in text
    assert "check them" not in geometry_section([view])


def test_texts_are_escaped_and_markup_is_not():
    text = table(("a<b",), [("<script>", Safe("<b>x</b>"))])
    assert "a&lt;b" in text and "&lt;script&gt;" in text and "<b>x</b>" in text
    checked(page("<t>", "&", [text], "by"))


def test_pictures_come_out_of_the_page_as_they_went_in(tmp_path):
    import base64
    import io

    values = np.random.default_rng(0).integers(0, 255, (6, 5, 3)).astype(np.uint8)
    data = re.search(r'base64,([^"]+)"', figure(Image.fromarray(values), "x"))[1]
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))), values)
    assert "image/jpeg" in figure(Image.fromarray(values), "x", photo=True)


def test_names_of_files_give_way_to_what_they_are(tmp_path):
    long, short = tmp_path / "Quux" / "ct.nrrd", tmp_path / "Quux"
    texts = [f"{long}: has padding", f"ct.nrrd in {short}", "nothing"]
    cleaned = without_paths(texts, {"folder": short, "CT": long, "geometry": None})
    assert cleaned == ["CT: has padding", "CT in folder", "nothing"]


def test_the_name_that_a_ct_has_from_its_file_gives_way_too(tmp_path):
    ct = tmp_path / "Quux_CT.nii.gz"
    ct.write_bytes(b"")
    text = "CT 'Quux_CT': no bone surface was found; view 'Quux_CT_2' shows CT 'other'"
    assert without_paths([text], {"CT": ct}) == ["CT: no bone surface was found; view 'Quux_CT_2' shows CT 'other'"]


def test_a_label_is_put_in_as_it_is(tmp_path):
    assert without_paths(["a.dcm: dark"], {r"X-ray \1 AP": tmp_path / "a.dcm"}) == [r"X-ray \1 AP: dark"]
