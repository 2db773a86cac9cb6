"""The page about users and tokens, and the page about the API, in a real browser."""

import httpx
import pytest

from rkface.runtime.web.accounts import Accounts
from rkface.runtime.web.password import write_password
from rkface.runtime.web.scopes import EXPLAINED
from rkface.runtime.web.serve import serve

from . import chromium
from .conftest import PASSWORD
from .fake_service import FakeService

pytestmark = [pytest.mark.slow, pytest.mark.skipif(chromium.program() is None, reason="needs Chromium")]


class QuietService(FakeService):
    """A service without cameras, for the live view."""

    def __init__(self):
        super().__init__()
        self.cameras = {}


def test_an_owner_manages_users_and_tokens_and_a_viewer_does_not_see_them(page, shot, tmp_path):
    write_password(tmp_path / "password", PASSWORD)
    with (
        Accounts(tmp_path / "accounts") as accounts,
        serve(QuietService(), port=0, password_file=tmp_path / "password", accounts=accounts) as address,
    ):
        page.open(f"{address}/")
        page.fill("#password", PASSWORD)
        page.click("form.sign-in button", "Sign in")
        page.click("nav a", "Access")
        page.shows("No program has a token")
        page.fill("#token-name", "door <b>controller</b>")
        for meaning in EXPLAINED.values():
            page.shows(meaning[1:])  # the first letter is a capital there
        page.run("document.getElementById('scope-read').click()")
        page.click("form button", "Create token")
        page.shows("Copy it now")
        secret = page.run("document.querySelector('.secret').textContent")
        shot("access-token")
        bearer = {"authorization": f"Bearer {secret}"}
        assert httpx.get(f"{address}/v1/settings", headers=bearer, trust_env=False).status_code == 200
        page.click("button", "Done")
        page.until("!document.querySelector('.secret')")  # shown once
        page.shows("door <b>controller</b>")
        page.fill("#user-name", "ada")
        page.fill("#user-password", "a long password")
        page.click("form button", "Add or change")
        page.shows("owner: set user")
        shot("access")
        page.open(f"{address}/docs")
        page.shows("POST /v1/identify")
        page.run("document.querySelectorAll('details').forEach((one, at) => { one.open = at < 3; })")
        shot("docs")
        page.open(f"{address}/#/live")
        page.click("#sign-out", "Sign out")
        page.click("summary", "Sign in as a user")
        page.fill("#user", "ada")
        page.fill("#password", "a long password")
        shot("sign-in")
        page.click("form.sign-in button", "Sign in")
        page.shows("No camera is configured")
        assert page.run("getComputedStyle(document.querySelector('nav .admin-only')).display") == "none"
        assert page.problems == []
