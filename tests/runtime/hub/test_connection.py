"""Which connections to the hub are encrypted and checked."""

import pytest

pytest.importorskip("psycopg", reason="the hub needs psycopg")
from psycopg.conninfo import conninfo_to_dict

from rkface.runtime.core.errors import InputError
from rkface.runtime.hub.connection import secure

REMOTE = [
    ("postgresql://rkface@db.example.org/rkface", {}),
    ("host=localhost,db.example.org", {}),
    ("host=localhost hostaddr=10.0.0.1", {}),
    ("dbname=rkface", {"PGHOST": "db.example.org"}),
    ("dbname=rkface", {"PGHOSTADDR": "10.0.0.1"}),
    ("host=localhost", {"PGHOSTADDR": "10.0.0.1"}),
    ("host=/run/postgresql", {"PGHOSTADDR": "10.0.0.1"}),
    ("service=hub", {}),
    ("dbname=rkface", {"PGSERVICE": "hub"}),
]


@pytest.mark.parametrize(("address", "environment"), REMOTE)
def test_another_machine_must_prove_who_it_is(address, environment, monkeypatch):
    """Also one that only libpq's environment or file of services names."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    options = secure(conninfo_to_dict(address))
    assert (options["sslmode"], options["sslrootcert"]) == ("verify-full", "system")
    with pytest.raises(InputError, match="sslmode=require"):
        secure(conninfo_to_dict(address, sslmode="require"))


@pytest.mark.parametrize("address", ["dbname=rkface", "host=/run/postgresql", "postgresql://u@127.0.0.1/rkface"])
def test_this_machine_needs_no_certificate(address):
    assert "sslmode" not in secure(conninfo_to_dict(address))
