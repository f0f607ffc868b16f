"""Files that mean harm are refused for what they are; the heavy ones are handed to a whole server in ``tests/e2e``."""

from __future__ import annotations

from pathlib import Path

import pytest

from hostile_files import HOSTILE, Hostile, office, word
from weft.components.dataprep.archive import MAX_FILES, is_archive, unpack
from weft.components.dataprep.blocks import Reading, RefusedError
from weft.components.dataprep.package import Package
from weft.components.dataprep.parse import prepare
from weft.types import Upload

HEAVY = frozenset({"picture.pdf", "flate.pdf", "endless.html", "deep.html", "marks.txt", "object.rtf", "line.csv", "wide.xlsx"})  # fmt: skip
READING = Reading(1000, 100)


@pytest.mark.parametrize("hostile", [h for h in HOSTILE if h.name not in HEAVY], ids=lambda h: h.name)
def test_it_is_refused_with_its_reason(hostile: Hostile, tmp_path: Path) -> None:
    """Each says what is wrong with it; of an archive, each file does."""
    upload = Upload(hostile.name, hostile.make())
    if not is_archive(hostile.name, None):
        with pytest.raises(AssertionError, match=hostile.reason):
            raise AssertionError(prepare(upload, READING).refused)
    elif not hostile.members:
        with pytest.raises(RefusedError, match=hostile.reason):
            unpack(upload, str(tmp_path), 10_000_000)
    else:
        found = unpack(upload, str(tmp_path), 10_000_000)
        assert len(found) == hostile.members
        for member in found:
            with pytest.raises(AssertionError, match=hostile.reason):
                raise AssertionError(member.refused)
    assert list(tmp_path.iterdir()) == [], "nothing of it is on disk"


def test_external_targets_of_an_office_file_are_no_part_of_it() -> None:
    """A document whose template, pictures and links are elsewhere is read as it stands."""
    relations = (
        '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
        '<Relationship Id="r1" Type="x/attachedTemplate" Target="http://169.254.169.254/t.dotm" TargetMode="External"/>'
        '<Relationship Id="r2" Type="x/styles" Target="file:///etc/passwd" TargetMode="External"/></Relationships>'
    )
    content = office(
        "word/document.xml", word("Words of its own."), **{"word___rels__document.xml.rels": relations}
    )
    assert [c.text for c in prepare(Upload("a.docx", content), READING).chunks] == ["Words of its own."]


def test_a_path_inside_a_file_leads_nowhere() -> None:
    """What a part refers to by climbing out is looked for inside the file only."""
    relations = (
        '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
        '<Relationship Id="r1" Type="x/styles" Target="../../../../etc/passwd"/></Relationships>'
    )
    content = office("word/document.xml", word("Words."), **{"word___rels__document.xml.rels": relations})
    assert prepare(Upload("a.docx", content), READING).chunks[0].text == "Words."


def test_macros_are_left_out_and_said() -> None:
    """A document with macros is read without them."""
    content = office(
        "word/document.xml", word("Words."), word__vbaProject_bin=b"", **{"word__vbaProject.bin": b"MZ"}
    )
    prepared = prepare(Upload("a.docm", content), READING)
    assert (prepared.chunks[0].text, prepared.note) == ("Words.", "its macros were neither read nor run")


def test_an_archive_is_read_up_to_its_limits(tmp_path: Path) -> None:
    """A file of an archive that is too large is refused alone; names on disk are ours."""
    from hostile_files import packed

    content = packed({"a/b.txt": "Words.", "a/c.txt": "x" * 1_000, "__MACOSX/._b.txt": "x", "d/": ""})
    small, large = unpack(Upload("z.zip", content), str(tmp_path), 100)
    assert (small.name, small.refused, Path(small.path or "").read_text()) == (
        "z.zip/a/b.txt",
        None,
        "Words.",
    )
    assert Path(small.path or "").parent == tmp_path
    assert Path(small.path or "").name.isdecimal()
    assert (large.name, large.refused) == ("z.zip/a/c.txt", "it has 1,000 bytes; at most 100 are taken")
    with pytest.raises(RefusedError, match="there is no file in it"):
        unpack(Upload("z.zip", packed({"d/": ""})), str(tmp_path), 100)
    with pytest.raises(RefusedError, match="not a zip file"):
        unpack(Upload("z.zip", b"PK nothing"), str(tmp_path), 100)


def test_limits_hold_for_all_entries_together(tmp_path: Path) -> None:
    """Count and size of a package are those of all its entries."""
    from hostile_files import packed

    path = tmp_path / "z.zip"
    path.write_bytes(packed({"a": "x" * 600, "b": "x" * 600}))
    assert len(Package(path, max_files=2, max_bytes=1_200).entries) == 2
    with pytest.raises(RefusedError, match="at most 1 are taken"):
        Package(path, max_files=1, max_bytes=1_200)
    with pytest.raises(RefusedError, match="expands to 1,200 bytes; at most 1,199"):
        Package(path, max_files=MAX_FILES, max_bytes=1_199)
