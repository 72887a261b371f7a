"""Coverage-guided fuzzing with atheris: C{python -m tests.fuzz TARGET [libFuzzer options]}.

It starts from C{tests/fuzz/corpus/TARGET} and knows the words of C{tests/fuzz/TARGET.dict}. What it finds goes to
C{.fuzz/TARGET}, which git ignores; libFuzzer's C{-merge=1 tests/fuzz/corpus/TARGET .fuzz/TARGET} takes over what adds
coverage. An input that breaks a target is written to the working directory: put it into the corpus with the fix, and
the ordinary tests try it for ever.
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
    found = Path(".fuzz") / name
    found.mkdir(parents=True, exist_ok=True)
    folders = [] if "-merge=1" in sys.argv else [str(found), str(corpus)]
    words = [f"-dict={dictionary}"] if (dictionary := corpus.parent.parent / f"{name}.dict").exists() else []
    atheris.Setup([sys.argv[0], *words, *folders, *sys.argv[2:]], TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
