"""`docs/guarantees.md` and `SECURITY.md` name a test for what they promise: each of them exists."""

import re

from harness.bridge import REPOSITORY


def defined():
    """Names of all tests, Python and Rust."""
    names = set()
    for suite in ("tests/e2e", "tests/faults", "tests/console"):
        for path in (REPOSITORY / suite).glob("test_*.py"):
            names |= set(re.findall(r"^def (test_\w+)\(", path.read_text(), re.MULTILINE))
    for folder in ("src", "tests"):
        for path in (REPOSITORY / folder).rglob("*.rs"):
            names |= set(re.findall(r"#\[(?:tokio::)?test[^\]]*\]\s+(?:#\[[^\]]*\]\s+)*(?:async )?fn (\w+)\(", path.read_text()))
    return names


def rows(file="docs/guarantees.md", letters="PDBTC"):
    for line in (REPOSITORY / file).read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if re.fullmatch(rf"[{letters}]\d+", cells[0].strip()):
            yield cells


def test_every_promise_names_a_test_that_exists_or_says_that_it_has_none():
    known, seen = defined(), []
    for number, _fault, _holds, proof in rows():
        seen.append(number)
        names = re.findall(r"`(\w+)`", proof)
        assert names or "not yet proven" in proof, f"{number} names no test"
        missing = [name for name in names if name not in known]
        assert not missing, f"{number}: {missing}"
    # The faults of the design, and what came later behind them.
    for letter, least in {"P": 11, "D": 13, "B": 16, "T": 11, "C": 5}.items():
        numbers = [int(number[1:]) for number in seen if number[0] == letter]
        assert numbers == list(range(1, max(least, len(numbers)) + 1)), letter


def test_every_attack_of_the_threat_model_names_a_test_that_exists():
    known, seen = defined(), []
    for number, _attack, _stopped, proof in rows("SECURITY.md", "S"):
        seen.append(int(number[1:]))
        names = re.findall(r"`([\w./]+)`", proof)
        assert names, f"{number} names no test"
        missing = [name for name in names if name not in known and not (REPOSITORY / name).is_file()]
        assert not missing, f"{number}: {missing}"
    assert seen == list(range(1, len(seen) + 1)) and len(seen) >= 15
