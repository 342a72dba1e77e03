"""What Slicer's extension index checks by itself, on the entry that waits in Resources/ExtensionsIndex.

Only what needs the network is left out: that the repository can be cloned, has the topic ``3d-slicer-extension``, and
serves the pictures.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
ENTRY = ROOT / "Resources/ExtensionsIndex/DeepReg2D3D.json"
CMAKE = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
FIELDS = {
    "$schema": str,
    "build_dependencies": list,
    "build_subdirectory": str,
    "category": str,
    "dicom_support_rule": str,
    "enabled": bool,
    "scm_revision": str,
    "scm_type": str,
    "scm_url": str,
    "tier": int,
}
"""Keys that the index's schema (version 1.0.1 and later) allows, with their types."""
LARGEST_CHECKOUT = 100e6


def cmake_value(name: str) -> str:
    """An EXTENSION_ variable. The index reads the file line by line: the value must be quoted and on one line."""
    found = re.findall(rf'^set\({name} "([^"\n]+)"\)$', CMAKE, re.MULTILINE)
    assert len(found) == 1, name
    return found[0]


@pytest.fixture
def entry() -> dict:
    return json.loads(ENTRY.read_text(encoding="utf-8"))


def test_entry_follows_the_schema(entry: dict) -> None:
    assert {"$schema", "category", "scm_url"} <= entry.keys() <= FIELDS.keys()
    assert all(type(value) is FIELDS[key] for key, value in entry.items())
    assert re.search(r"/slicer-extension-catalog-entry-schema-v1\.0\.[12]\.json#?$", entry["$schema"])
    assert 1 <= entry["tier"] <= 5


def test_names_follow_the_rules(entry: dict) -> None:
    name = ENTRY.stem
    assert not name.lower().startswith("slicer")
    assert re.findall(r"project\s*\(\s*([^\s)]+)", CMAKE) == [name]
    url = urlsplit(entry["scm_url"])
    assert url.scheme == "https"
    assert Path(url.path).stem == f"Slicer{name}"


def test_entry_agrees_with_cmake(entry: dict) -> None:
    assert entry["category"] == "Registration"
    assert entry["scm_url"].removesuffix(".git") == cmake_value("EXTENSION_HOMEPAGE")
    assert entry["build_dependencies"] == cmake_value("EXTENSION_DEPENDS").split()
    assert "EXTENSION_CATEGORY" not in CMAKE
    assert 'translate("qSlicerAbstractCoreModule", "Registration")' in (ROOT / "DeepReg2D3D/DeepReg2D3D.py").read_text()


def test_pictures_are_in_the_repository(entry: dict) -> None:
    icon, screenshots = cmake_value("EXTENSION_ICONURL"), cmake_value("EXTENSION_SCREENSHOTURLS").split()
    repository = urlsplit(entry["scm_url"]).path.removesuffix(".git")
    raw = f"https://raw.githubusercontent.com{repository}/{entry['scm_revision']}/"
    for url in (icon, *screenshots):
        assert url.startswith(raw)
        with Image.open(ROOT / url.removeprefix(raw)) as picture:
            assert picture.format in {"PNG", "JPEG", "GIF"}
    with Image.open(ROOT / icon.removeprefix(raw)) as picture:
        assert picture.size == (128, 128)


def test_description_names_the_patent_of_the_readme() -> None:
    patents = set(re.findall(r"US\d{8}B\d", (ROOT / "README.md").read_text(encoding="utf-8")))
    assert patents and patents == set(re.findall(r"US\d{8}B\d", cmake_value("EXTENSION_DESCRIPTION")))


def test_licence_is_where_the_index_looks() -> None:
    assert "Apache License" in (ROOT / "LICENSE.txt").read_text(encoding="utf-8")
    assert "Apache-2.0" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_text_files_have_unix_line_ends() -> None:
    texts = [ENTRY, *ROOT.glob("*.txt"), *ROOT.glob("Resources/UI/*.ui"), *ROOT.glob("DeepReg2D3D/**/*.py")]
    assert len(texts) > 100
    assert [path for path in texts if b"\r" in path.read_bytes()] == []


def test_checkout_is_small_enough() -> None:
    # The index counts a fresh clone: the files, and their history about once more.
    folders = (ROOT / name for name in ("DeepReg2D3D", "Resources", "Testing"))
    size = sum(path.stat().st_size for folder in folders for path in folder.rglob("*") if path.is_file())
    assert 1e6 < size < LARGEST_CHECKOUT / 2
