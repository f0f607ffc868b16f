"""Make the documents: from the texts beside this file into a folder, always the same.

    python benchmarks/quality/corpus/build.py FOLDER

What is text anyway (``files/``) is copied; what is not (PDF, Word, ...) is made from ``texts/``. Debian's documents are
copied where the packages are installed; what is absent is said.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import offices
import others
import pdfs
from markup import read

HERE = Path(__file__).resolve().parent

DEBIAN = {
    "sect.dhcp.html": "/usr/share/doc/debian-handbook/html/en-US/sect.dhcp.html",
    "sect.apt-cache.html": "/usr/share/doc/debian-handbook/html/en-US/sect.apt-cache.html",
    "sect.dealing-with-compromised-machine.html": "/usr/share/doc/debian-handbook/html/en-US/"
    "sect.dealing-with-compromised-machine.html",
    "shared-mime-info-spec.pdf": "/usr/share/doc/shared-mime-info/shared-mime-info-spec.pdf",
    "sched.rst.txt": "/usr/share/doc/python3.11/html/_sources/library/sched.rst.txt",
    "zipapp.rst.txt": "/usr/share/doc/python3.11/html/_sources/library/zipapp.rst.txt",
}
"""From the packages debian-handbook, shared-mime-info and python3.11-doc."""


def build(target: Path, *, later: bool = False) -> list[str]:
    """Write every document into ``target``; the names of those of Debian's that are absent.

    Args:
        target: The folder.
        later: With those that only the third set of questions is about: the others were measured without them.
    """
    writers = {
        "pdf": pdfs.write, "docx": offices.docx, "pptx": offices.pptx, "xlsx": offices.xlsx,
        "rtf": others.rtf, "epub": others.epub, "eml": others.eml,
    }  # fmt: skip
    for source in sorted((HERE / "texts").glob("*/*.txt")):
        made = target / source.parent.name / f"{source.stem}.{source.parent.name}"
        made.parent.mkdir(parents=True, exist_ok=True)
        writers[source.parent.name](read(source), made)
    for folder in sorted((HERE / "files").iterdir()):
        if folder.name != "zip":
            shutil.copytree(folder, target / folder.name, dirs_exist_ok=True)
            continue
        (target / "zip").mkdir(parents=True, exist_ok=True)
        for inner in sorted(folder.iterdir()):
            members = sorted(path for path in inner.rglob("*") if path.is_file())
            files = {f"{inner.name}/{path.relative_to(inner)}": path.read_bytes() for path in members}
            others.zipped(files, target / "zip" / f"{inner.name}.zip")
    if later:
        shutil.copytree(HERE / "later", target, dirs_exist_ok=True)
    absent = []
    (target / "debian").mkdir(exist_ok=True)
    for name, path in DEBIAN.items():
        if Path(path).is_file():
            shutil.copy(path, target / "debian" / name)
        else:
            absent.append(f"debian/{name}")
    return absent


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    for name in build(folder):
        print(f"absent: {name}")
    print(f"{sum(path.is_file() for path in folder.rglob('*'))} files in {folder}")
