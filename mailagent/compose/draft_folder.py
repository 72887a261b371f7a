"""Where the text of a message that did not get through is kept."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import attrs


class NotKept(Exception):
    """No folder took the draft; the text says why."""


@attrs.frozen
class DraftFolder:
    """Keeps drafts as files of mode 0600 in the first of C{folders} that takes them; it is made if need be (0700)."""

    folders: tuple[Path, ...]

    @classmethod
    def of_user(cls, environment: Mapping[str, str]) -> DraftFolder:
        """C{$XDG_STATE_HOME/mailagent/drafts} (C{~/.local/state} where that is unset), else the working directory."""
        return cls((state_of_user(environment) / "drafts", Path.cwd()))

    def keep(self, name: str, message: Iterable[bytes]) -> Path:
        """Store C{message} durably under C{name}, which must be new.

        @return: the file, an absolute path.
        @raise NotKept: nowhere.
        """
        reasons = []
        for folder in self.folders:
            try:
                return _write(folder, name, message)
            except OSError as error:
                reasons.append(f"{folder}: {error.strerror}")
        raise NotKept("; ".join(reasons))


def state_of_user(environment: Mapping[str, str]) -> Path:
    """Where this program keeps what is its user's: C{$XDG_STATE_HOME/mailagent}, or in C{~/.local/state}."""
    state = environment.get("XDG_STATE_HOME", "")
    if not os.path.isabs(state):  # as the XDG specification has it
        state = os.path.join(environment.get("HOME", "/"), ".local", "state")
    return Path(state, "mailagent")


def _write(folder: Path, name: str, message: Iterable[bytes]) -> Path:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / name
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with open(descriptor, "wb") as file:
            file.writelines(message)
            file.flush()
            os.fsync(descriptor)
    except OSError:
        path.unlink(missing_ok=True)
        raise
    return path
