"""Every fault that needs the registry to be seen: the whole rendered report is the expectation."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from weft.errors import SpecError
from weft.plan import check
from weft.plan.codes import CODES
from weft.registry.components import Components
from weft.spec.load import read
from weft.spec.problems import CODES as LOAD_CODES
from weft.spec.problems import Problems

BAD = Path(__file__).parent / "bad"
FAKES = Path(__file__).parents[1] / "unit" / "plan"
CASES = sorted(path.stem for path in BAD.glob("plan-*.yaml"))


@pytest.fixture(scope="module")
def components() -> Components:
    fakes = Components({}).get("./plan_fakes.py:ChatModel", folder=FAKES).type
    return Components(vars(__import__(fakes.__module__))["COMPONENTS"])


def report(name: str, components: Components, monkeypatch: pytest.MonkeyPatch) -> str:
    """What is wrong with a spec, as ``weft check`` prints it."""
    monkeypatch.chdir(BAD)
    text = Path(f"{name}.yaml").read_text()
    problems = Problems()
    spec = read({f"{name}.yaml": text}, problems)
    workers = re.match(r"# workers: (\d+)\n", text)
    with pytest.raises(SpecError) as caught:
        check(spec, components, workers=int(workers[1]) if workers else 1, problems=problems)
    return str(caught.value).replace(f"{BAD}/", "") + "\n"


@pytest.mark.parametrize("name", CASES)
def test_report_is_the_expected_one(
    name: str, components: Components, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The report has every problem, in file order, with place, caret and help."""
    assert report(name, components, monkeypatch) == (BAD / f"{name}.txt").read_text()


def test_every_code_is_described_and_shown() -> None:
    """Each code of the compiler has a meaning and a spec that shows it; none is made up."""
    reports = [(BAD / f"{name}.txt").read_text() for name in CASES]
    used = {code for text in reports for code in re.findall(r"(?:error|warning)\[([a-z-]+)\]", text)}
    assert set(CODES) - used == set()
    assert used - set(CODES) - set(LOAD_CODES) == set()
