"""Where the configuration comes from: a file, the command line above it, or the built-in default."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mailagent.config import Config, ConfigError, Overrides, load

WHITELIST = '[whitelist]\nhosts = ["example.org"]\nusers = ["ann"]\n'


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mail" / "mailagent.toml"
    path.parent.mkdir()
    path.write_text(WHITELIST)
    return path


def mistakes(path: str | None = None, overrides: Overrides | None = None) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        load(path, overrides, search=())
    return caught.value.lines


def default(**overrides: object) -> Config:
    return load(None, Overrides(**overrides), search=())  # type: ignore[arg-type]


def test_without_a_file_the_built_in_default_runs() -> None:
    made = default()
    assert made.whitelist.hosts == ("hostmeister.de", "hostgator.com")
    assert made.whitelist.users == ("user1", "user2")
    assert made.source == "built-in default"


def test_the_first_file_of_the_search_that_exists_is_read(file: Path, tmp_path: Path) -> None:
    made = load(search=[str(tmp_path / "absent.toml"), str(file), "/etc/passwd"])
    assert made.whitelist.users == ("ann",)
    assert made.source == str(file)


def test_the_working_directory_comes_before_etc(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(file.parent)
    assert load().source == str(file)


def test_a_named_file_is_read_and_no_other(file: Path) -> None:
    assert load(str(file), search=["/etc/passwd"]).source == str(file)


def test_a_named_file_that_does_not_exist_is_a_mistake(tmp_path: Path) -> None:
    path = str(tmp_path / "absent.toml")
    assert mistakes(path) == (f"{path}: No such file or directory",)


@pytest.mark.parametrize("path", ["a\0b", "\udcff\n"])
def test_a_path_that_can_be_none_is_a_mistake_on_one_printable_line(path: str) -> None:
    [line] = mistakes(path)
    assert line.isprintable()


def test_a_file_that_cannot_be_read_is_not_passed_over(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Is a directory"):
        load(search=[str(tmp_path)])


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"hostname =\n", "Invalid value (at line 1, column 11)"),
        (b'[limits]\nerrors 3\nx = "y"\n', "Expected '=' after a key in a key/value pair (at line 2, column 8)"),
        (b"[limits]\nerrors = [1\n\n\n", "Unclosed array (at line 2, the end of the file)"),
        (b'hostname = "mx"\nx = "\xff"\n', "not UTF-8 (at line 2)"),
    ],
)
def test_a_syntax_error_names_file_and_line(file: Path, content: bytes, line: str) -> None:
    file.write_bytes(content)
    assert mistakes(str(file)) == (f"{file}: {line}",)


def test_tables_nested_beyond_reason_are_a_mistake(file: Path) -> None:
    file.write_text("x = " + "[" * 100_000)
    assert len(mistakes(str(file))) == 1


def test_a_mistake_names_the_file_as_it_was_given(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(file.parent)
    file.write_text('whitelist = { hosts = ["example.org"], users = ["ann", 3] }')
    [line] = mistakes("mailagent.toml")
    assert line.startswith("mailagent.toml: whitelist.users[1]: expected ")
    assert line.endswith(", found 3")


def test_every_mistake_has_a_line_of_its_own(file: Path) -> None:
    file.write_text("hostnam = 1\n" + WHITELIST + "[limits]\nerrors = 0")
    with pytest.raises(ConfigError) as caught:
        load(str(file))
    assert str(caught.value).split("\n") == list(caught.value.lines)
    assert len(caught.value.lines) == 2


def test_a_relative_mailbox_path_starts_at_the_files_directory(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    assert load(str(file)).mailboxes.path == str(file.parent / "mailboxes")


def test_without_a_file_a_relative_mailbox_path_starts_at_the_working_directory() -> None:
    assert default().mailboxes.path == os.path.join(os.getcwd(), "mailboxes")


def test_a_relative_mailbox_path_of_the_command_line_starts_at_the_working_directory(file: Path) -> None:
    made = load(str(file), Overrides(mailboxes="here"))
    assert made.mailboxes.path == os.path.join(os.getcwd(), "here")


def test_hosts_of_the_command_line_replace_the_listed_ones_and_keep_the_users() -> None:
    made = default(hosts=["example.net"])
    assert made.whitelist.hosts == ("example.net",)
    assert made.whitelist.users == ("user1", "user2")


def test_users_of_the_command_line_replace_the_listed_ones_and_keep_the_hosts(file: Path) -> None:
    made = load(str(file), Overrides(users=["bob", "cy"]))
    assert made.whitelist.hosts == ("example.org",)
    assert made.whitelist.users == ("bob", "cy")


def test_listeners_of_the_command_line_replace_the_listed_ones() -> None:
    made = default(listen=["tcp:25", "tcp:2525"])
    assert [listener.endpoint for listener in made.listen] == ["tcp:25", "tcp:2525"]


def test_the_hostname_can_be_given_on_the_command_line() -> None:
    assert default(hostname="mx.example.net").hostname == "mx.example.net"


def test_options_pass_the_checks_of_settings_and_are_told_by_their_names() -> None:
    lines = mistakes(
        overrides=Overrides(hosts=["a.example", "A.example"], users=["a/b"], mailboxes="", listen=["x"], hostname="-")
    )
    assert sorted(line.split(": ")[0] for line in lines) == [
        "--host",
        "--hostname",
        "--listen",
        "--mailboxes",
        "--user",
    ]
    assert '--host: "A.example" is already listed in whitelist.hosts' in lines


def test_a_postmaster_whom_the_command_line_took_away_is_told_by_its_path(file: Path) -> None:
    file.write_text(WHITELIST + 'postmaster = "ann"')
    assert mistakes(str(file), Overrides(users=["bob"])) == (
        f'{file}: whitelist.postmaster: expected one of whitelist.users ("bob"), found "ann"',
    )


def test_an_option_above_a_table_that_is_none_leaves_the_mistake_to_the_file(file: Path) -> None:
    file.write_text("whitelist = 3")
    assert mistakes(str(file), Overrides(users=["bob"])) == (f"{file}: whitelist: expected a table, found 3",)


def test_an_international_hostname_is_used_in_a_labels() -> None:
    assert load(None, Overrides(hostname="Bücher.example"), search=()).hostname == "xn--bcher-kva.example"


def test_the_state_directory_is_the_one_given_else_systemds_else_beside_the_mailboxes(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    assert load(str(file)).state == str(file.parent / "state")
    file.write_text(WHITELIST + '[mailboxes]\npath = "/srv/mail"\n')
    assert load(str(file)).state == "/srv/state"
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/mailagent:/var/lib/other")
    assert load(str(file)).state == "/var/lib/mailagent"
    file.write_text('state = "kept"\n' + WHITELIST)
    assert load(str(file)).state == str(file.parent / "kept")
    assert load(str(file), Overrides(state="here")).state == os.path.abspath("here")


def test_certificates_are_found_beside_the_file(file: Path) -> None:
    file.write_text(
        WHITELIST + '[tls]\ncertificate = "c.pem"\nkey = "/k.pem"\n'
        '[tls.hosts."a.example"]\ncertificate = "a.pem"\nkey = "a.pem"\n'
    )
    tls = load(str(file)).tls
    assert (tls.certificate, tls.key) == (str(file.parent / "c.pem"), "/k.pem")
    assert next(iter(tls.hosts.values())).key == str(file.parent / "a.pem")


@pytest.mark.parametrize("option", ["0", "many", "-1", ""])
def test_a_wrong_number_of_workers_is_told_by_the_options_name(option: str) -> None:
    [line] = mistakes(overrides=Overrides(workers=option))
    assert line.startswith("--workers: expected a number of processes")


def test_workers_are_a_number_or_one_for_each_processor() -> None:
    assert default().workers == 1
    assert default(workers="3").workers == 3
    assert default(workers="auto").workers == len(os.sched_getaffinity(0))
