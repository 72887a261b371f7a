"""What a measurement does to a server's mail."""

from __future__ import annotations

import os
from pathlib import Path

from bench.servers import Running


def test_mail_is_out_of_the_way_between_rounds_but_its_inodes_stay_in_use(tmp_path: Path) -> None:
    mailboxes = tmp_path / "mailboxes"
    for name in ("user", "2user"):
        (mailboxes / name / "new").mkdir(parents=True)
        (mailboxes / name / "new" / "message").touch()
    server = Running("a server", "1", os.getpid(), 25, mailboxes)
    assert server.stored(2) == 2
    server.empty()
    assert server.stored(2) == 0
    assert len([file for file in tmp_path.rglob("*") if file.is_file()]) == 2
