"""What is right by itself and wrong together."""

from __future__ import annotations

import pytest

from mailagent.config import driver
from tests.config.test_structure import WHITELIST, config, problems


def test_a_file_without_whitelist_and_hosts_says_so() -> None:
    assert problems("[limits]\nerrors = 3") == {
        "": "neither [whitelist] nor [hosts] is given: list at least one host and one user, or have them "
        'in the database by directory.source = "database"'
    }


def test_hosts_alone_are_enough() -> None:
    assert config('hosts."example.org".users = ["ann"]').whitelist.users == ()


@pytest.mark.parametrize(
    ("toml", "missing"),
    [
        ('whitelist.hosts = ["example.org"]', "whitelist.users"),
        ('whitelist.users = ["ann"]', "whitelist.hosts"),
        ('whitelist.postmaster = "ann"\nhosts."example.org".users = ["ann"]', "whitelist.hosts"),
        ('hosts."example.org".users = []', 'hosts."example.org".users'),
        ("listen = []\n" + WHITELIST, "listen"),
        (WHITELIST + "aliases = { sales = [] }", "whitelist.aliases.sales"),
    ],
)
def test_what_must_not_be_empty_is_told(toml: str, missing: str) -> None:
    assert problems(toml)[missing].startswith("list at least one")


def test_two_users_on_one_path_are_an_error() -> None:
    wrong = problems('[whitelist]\nhosts = ["example.org"]\nusers = ["Müller", "bob", "MÜLLER"]')
    assert wrong == {"whitelist.users": '"MÜLLER" is the same name as "Müller"'}


def test_a_user_listed_twice_is_an_error() -> None:
    wrong = problems('[whitelist]\nhosts = ["example.org"]\nusers = ["ann", "ann"]')
    assert wrong == {"whitelist.users": '"ann" is the same name as "ann"'}


def test_one_name_at_two_hosts_is_no_error() -> None:
    config(WHITELIST + '[hosts."example.net"]\nusers = ["ann"]')


@pytest.mark.parametrize("name", ["example.net", "Example.NET"])
def test_a_user_whose_maildir_would_be_another_hosts_directory_is_an_error(name: str) -> None:
    toml = f'whitelist = {{ hosts = ["example.org"], users = ["{name}"] }}\nhosts."example.net".users = ["new"]'
    assert problems(toml) == {
        "whitelist.users": f'the mailbox of "{name}" would hold those of hosts."example.net": use another name'
    }


@pytest.mark.parametrize(
    ("one", "other"), [("example.org", "EXAMPLE.org"), ("bücher.example", "xn--bcher-kva.example"), ("a.b", "a.b")]
)
def test_one_host_in_two_spellings_is_an_error(one: str, other: str) -> None:
    wrong = problems(f'whitelist = {{ hosts = ["{one}", "{other}"], users = ["ann"] }}')
    assert wrong == {"whitelist.hosts": f'"{other}" is already listed in whitelist.hosts'}


def test_one_host_in_the_whitelist_and_in_a_table_of_its_own_is_an_error() -> None:
    wrong = problems(WHITELIST + '[hosts."Example.ORG"]\nusers = ["cy"]')
    assert wrong == {'hosts."Example.ORG"': '"Example.ORG" is already listed in whitelist.hosts'}


def test_one_host_in_two_tables_is_an_error() -> None:
    wrong = problems('hosts."a.example".users = ["ann"]\nhosts."A.example".users = ["ann"]')
    assert wrong == {'hosts."A.example"': '"A.example" is already listed in hosts."a.example"'}


@pytest.mark.parametrize("setting", ["catch_all", "postmaster"])
def test_catch_all_and_postmaster_must_be_listed_users(setting: str) -> None:
    wrong = problems(WHITELIST + f'{setting} = "zed"')
    assert wrong == {f"whitelist.{setting}": 'expected one of whitelist.users ("ann", "bob"), found "zed"'}


def test_a_listed_user_may_be_named_in_any_case() -> None:
    config(WHITELIST + 'catch_all = "ANN"\npostmaster = "Bob"\naliases = { sales = "BOB" }')


def test_an_alias_may_point_only_at_users_of_its_own_table() -> None:
    toml = WHITELIST + '[hosts."example.net"]\nusers = ["cy"]\naliases = { sales = ["cy", "ann"] }'
    assert problems(toml) == {
        'hosts."example.net".aliases.sales': 'expected one of hosts."example.net".users ("cy"), found "ann"'
    }


def test_an_alias_may_not_point_at_an_alias() -> None:
    assert set(problems(WHITELIST + 'aliases = { a = "ann", b = "a" }')) == {"whitelist.aliases.b"}


def test_an_alias_may_not_shadow_a_user() -> None:
    assert set(problems(WHITELIST + 'aliases = { ANN = "bob" }')) == {"whitelist.aliases.ANN"}


def test_two_aliases_of_one_name_are_an_error() -> None:
    wrong = problems(WHITELIST + 'aliases = { sales = "ann", Sales = "bob" }')
    assert wrong == {"whitelist.aliases": '"Sales" is the same name as "sales"'}


def test_who_is_to_log_in_has_to_be_listed_somewhere() -> None:
    listeners = '[[listen]]\nendpoint = "tcp:25"\n[[listen]]\nendpoint = "tcp:587"\nrole = "submission"\n'
    wrong = problems(WHITELIST + listeners)
    assert wrong == {"listen[1].role": "nobody could log in: name the users file in directory.users"}
    assert set(problems(WHITELIST + listeners + "[directory]\nusers = 1")) == {"directory.users"}
    config(WHITELIST + listeners + '[directory]\nusers = "users"')


def test_what_the_database_has_is_not_listed_in_the_file_too() -> None:
    database = '[directory]\nsource = "database"\n'
    submission = '[[listen]]\nendpoint = "tcp:587"\nrole = "submission"\n'
    config(database + submission)
    wrong = problems(WHITELIST + '[hosts."example.net"]\nusers = ["cy"]\n' + database + 'users = "users"')
    assert set(wrong) == {"whitelist.hosts", "whitelist.users", 'hosts."example.net"', "directory.users"}


def test_one_endpoint_cannot_be_listened_on_twice() -> None:
    wrong = problems(WHITELIST + '[[listen]]\nendpoint = "tcp:25"\n[[listen]]\nendpoint = "tcp:25"')
    assert wrong == {"listen": '"tcp:25" is listed twice'}


def test_many_users_are_not_all_named_in_a_mistake() -> None:
    users = ", ".join(f'"user{number}"' for number in range(100))
    wrong = problems(f'whitelist = {{ hosts = ["a.example"], users = [{users}], postmaster = "zed" }}')
    assert '"user9", …)' in wrong["whitelist.postmaster"]


def test_a_certificate_and_its_key_go_together() -> None:
    assert set(problems(WHITELIST + '[tls]\ncertificate = "c.pem"')) == {"tls.key"}
    assert set(problems(WHITELIST + '[tls]\nkey = "k.pem"')) == {"tls.certificate"}
    assert set(problems(WHITELIST + '[tls.hosts."a.example"]')) == {
        'tls.hosts."a.example".certificate',
        'tls.hosts."a.example".key',
    }
    config(WHITELIST + '[tls]\ncertificate = "c.pem"\nkey = "k.pem"')


def test_a_certificate_of_a_wrong_type_is_told_once() -> None:
    assert set(problems(WHITELIST + '[tls]\ncertificate = 3\nkey = "k.pem"')) == {"tls.certificate"}


def test_one_host_has_one_certificate() -> None:
    pair = '{ certificate = "c.pem", key = "k.pem" }'
    wrong = problems(WHITELIST + f'[tls.hosts]\n"a.example" = {pair}\n"A.example" = {pair}')
    assert wrong == {'tls.hosts."A.example"': '"A.example" is the same host as "a.example"'}


ALIASES = WHITELIST + "[whitelist.aliases]\n"


def test_an_alias_may_lead_to_addresses() -> None:
    config(
        ALIASES
        + 'x = ["ann", "a@elsewhere.example", "bob+tag@example.org", "y@example.org"]\ny = "a@elsewhere.example"'
    )


@pytest.mark.parametrize(
    ("aliases", "wrong"),
    [
        ('x = "x@example.org"', {"x": "leads in a circle: x@example.org → x@example.org"}),
        (
            'x = ["ann", "Y+tag@example.org"]\ny = "x@example.org"',
            {
                "x": "leads in a circle: x@example.org → y@example.org → x@example.org",
                "y": "leads in a circle: y@example.org → x@example.org → y@example.org",
            },
        ),
        ('x = "nobody@example.org"', {"x": "nobody gets mail for nobody@example.org"}),
        ('x = ["ann", ""]', {"x[1]": "expected a target"}),
        ('x = "a b@elsewhere.example"', {"x": "expected a target"}),
        ('x = "@elsewhere.example"', {"x": "expected a target"}),
        ('x = "a@[192.0.2.1]"', {"x": "expected a target"}),
    ],
)
def test_an_alias_that_leads_nowhere_or_in_a_circle_is_an_error(aliases: str, wrong: dict[str, str]) -> None:
    found = problems(ALIASES + aliases)
    assert set(found) == {f"whitelist.aliases.{name}" for name in wrong}
    assert all(found[f"whitelist.aliases.{name}"].startswith(text) for name, text in wrong.items())


def test_a_catch_all_that_leads_back_to_itself_is_an_error() -> None:
    assert problems(WHITELIST + 'catch_all = "x@example.org"') == {
        "whitelist.catch_all": "leads in a circle: x@example.org → x@example.org"
    }


def chain(length: int) -> str:
    return "".join(f'a{at} = "a{at + 1}@example.org"\n' for at in range(length)) + f'a{length} = "ann"'


def test_aliases_lead_through_ten_others_at_most() -> None:
    config(ALIASES + chain(10))
    assert problems(ALIASES + chain(11)) == {"whitelist.aliases.a0": "leads through more than 10 aliases"}


def test_an_alias_leads_to_a_thousand_targets_at_most_counted_along_every_way() -> None:
    many = ", ".join(f'"a{at}@elsewhere.example"' for at in range(500))
    config(ALIASES + f'all = ["x@example.org", "x@example.org"]\nx = [{many}]')
    wrong = problems(ALIASES + f'all = ["x@example.org", "x@example.org", "ann"]\nx = [{many}]')
    assert wrong == {"whitelist.aliases.all": "leads to more than 1000 targets"}


@pytest.mark.parametrize("key", ["queue.url", "directory.url"])
def test_postgresql_without_its_driver_says_what_to_install(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    toml = f'directory.source = "database"\n{key} = "postgresql+psycopg://mail@db.example/mail"'
    assert problems(toml) == {}
    monkeypatch.setattr(driver, "find_spec", lambda name: None)
    assert "pip install 'mailagent[postgres]'" in problems(toml)[key]
    assert list(problems(toml)) == [key]


@pytest.mark.parametrize(
    "url", ["postgres://mail:secret@db/mail", "mysql://u:p@ss:secret word@h/d", "x://h/d?password=secret&x=1"]
)
def test_a_password_in_a_database_that_is_not_ours_is_not_shown(url: str) -> None:
    told = problems(WHITELIST + f'\n[queue]\nurl = "{url}"')["queue.url"]
    assert "postgresql+psycopg://" in told
    assert "secret" not in told
