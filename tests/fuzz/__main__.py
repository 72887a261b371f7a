"""Coverage-guided fuzzing with atheris: C{python -m tests.fuzz TARGET [libFuzzer options]}.

New inputs go to C{tests/fuzz/corpus/TARGET}; one that breaks a target is written to the working directory. Commit it
to the corpus with the fix, and the ordinary tests try it for ever.
"""

from __future__ import annotations

import sys
from pathlib import Path

import atheris
from twisted.logger import LogPublisher, globalLogBeginner

with atheris.instrument_imports(include=["mailagent"]):
    from tests.fuzz.targets import TARGETS


def main() -> None:
    """Fuzz one target until libFuzzer's options say it is enough."""
    name = sys.argv[1]
    globalLogBeginner.beginLoggingTo([LogPublisher()], redirectStandardIO=False, discardBuffer=True)
    corpus = Path(__file__).parent / "corpus" / name
    atheris.Setup([sys.argv[0], str(corpus), *sys.argv[2:]], TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
