"""What a job would carry, held against what Ray packs; the size limit and the names of what breaks it."""

import zipfile
from pathlib import Path

import pytest
from ray._private.ray_constants import get_runtime_env_default_excludes
from ray._private.runtime_env.packaging import create_package

from ray_jobs.package import DEFAULT_EXCLUDES, MIB, check_size, survey

ROOT = Path(__file__).resolve().parents[2]


SIZES = {
    "code.py": 10, "notes": 7, "deep/keep.log": 3, "pictures/a.png": 900, "pictures/b.png": 800,
    "data/train/shard.bin": 5000, "data/train/small.bin": 100, "data/test/shard.bin": 300,
    ".git/objects/pack": 1000, ".venv/bin/python": 1000, "pkg/__pycache__/a.pyc": 1000, "pkg.egg-info/PKG-INFO": 1000,
}  # fmt: skip


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name, num_bytes in SIZES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x" * num_bytes)
    return tmp_path


def test_the_survey_is_what_ray_packs(project: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    (project / ".gitignore").write_text("*.png\n!b.png\n/notes\n")
    (project / "deep" / ".rayignore").write_text("*.log\n")
    package = survey(project, ["data/test"])
    archive = tmp_path_factory.mktemp("zip") / "package.zip"
    excludes = [*get_runtime_env_default_excludes(), *package.excludes]
    create_package(str(project), archive, include_gitignore=True, excludes=excludes)
    packed = {entry.filename: entry.file_size for entry in zipfile.ZipFile(archive).infolist() if not entry.is_dir()}
    assert dict(package.files) == packed
    assert "pictures/b.png" in packed
    assert not {"pictures/a.png", "notes", "deep/keep.log", "data/test/shard.bin"} & packed.keys()
    # Packed without compression: what was counted is what travels, but for the archive's own table.
    assert package.num_bytes <= archive.stat().st_size <= package.num_bytes + 400 * (len(packed) + 1)


def test_the_projects_own_package_is_small_and_whole() -> None:
    package = survey(ROOT)
    assert package.holds("ray_jobs/__main__.py")
    assert package.holds("constraints.txt")
    assert not package.holds(".git")
    assert package.num_bytes < 20 * MIB
    assert "__pycache__" in DEFAULT_EXCLUDES


def test_too_large_is_refused_with_the_largest_offenders(project: Path) -> None:
    package = survey(project)
    check_size(package, 1)
    with pytest.raises(ValueError, match=r"allowed are 0\.001 MiB") as refused:
        check_size(package, 0.001)
    # One file makes up nearly all of data/; the pictures are many.
    assert package.largest(2) == [("data/train/shard.bin", 5000), ("pictures/", 1700)]
    text = str(refused.value)
    assert text.index("data/train/shard.bin") < text.index("pictures/") < text.index(".rayignore")


def test_a_link_into_a_circle_is_named(project: Path) -> None:
    (project / "data" / "again").symlink_to(project)
    with pytest.raises(ValueError, match="data/again is a link to a folder that it lies in"):
        survey(project)
    assert survey(project, ["data/again"]).num_bytes


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is no folder"):
        survey(tmp_path / "nothing")
