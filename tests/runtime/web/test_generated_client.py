"""A client that openapi-python-client generates from /v1/openapi.json enrolls, identifies and forgets a person."""

import importlib
import json
import sys
from io import BytesIO

import pytest

generator = pytest.importorskip("openapi_python_client", reason="needs openapi-python-client")
from openapi_python_client.config import Config, ConfigFile, MetaType

from rkface.runtime.web.access import Access
from rkface.runtime.web.accounts import Accounts, accounts_path
from rkface.runtime.web.serve import create_app, serve

from .fake_service import FakeService

# Pictures are bytes to a client.
PICTURES = dict.fromkeys(("image/png", "image/jpeg"), "application/octet-stream")


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """The generated package ``rkface_client``. Generating it gives no warning."""
    folder = tmp_path_factory.mktemp("generated")
    description = folder / "openapi.json"
    description.write_text(json.dumps(create_app(FakeService(), Access(None, secure=False)).openapi()))
    options = ConfigFile(content_type_overrides=PICTURES, post_hooks=[])
    config = Config.from_sources(options, MetaType.NONE, description, "utf-8", True, folder / "rkface_client")
    assert generator.generate(config=config) == []
    sys.path.insert(0, str(folder))
    yield "rkface_client"
    sys.path.remove(str(folder))


@pytest.mark.slow
@pytest.mark.filterwarnings("error")
def test_a_generated_client_enrolls_identifies_and_forgets(package, service, portraits, tmp_path):
    def module(name):
        return importlib.import_module(f"{package}.{name}")

    models, types = module("models"), module("types")

    def photo(number):
        return types.File(BytesIO(portraits[number]), "photo.jpg", "image/jpeg")

    with (
        Accounts(accounts_path(tmp_path / "gallery")) as accounts,
        serve(service, port=0, accounts=accounts) as address,
    ):
        _, secret = accounts.create_token("test", ["admin"])
        client = module("client").AuthenticatedClient(base_url=address, token=secret, raise_on_unexpected_status=True)
        for number in range(2):
            verdict = module("api.people.enroll_photo").sync(
                client=client, name="Hedy", body=models.EnrollPhotoFilesBody(photo(number))
            )
            assert verdict.status == "enrolled"
        found = module("api.photos.identify_faces").sync(client=client, body=models.IdentifyFacesFilesBody(photo(2)))
        person = found.faces[0].person
        assert person.name == "Hedy" and found.reason is None
        known = module("api.people.list_people").sync(client=client)
        assert "Hedy" in [one.name for one in known.items] and known.next_ is None
        assert known.items[0].created_at.timestamp() == pytest.approx(known.items[0].created, abs=1e-3)
        report = module("api.people.forget_person").sync(person.person, client=client)
        assert report.left == [] and report.done
        gone = module("api.people.get_person").sync(person.person, client=client)
        assert gone.status == 404 and gone.title == "Not Found" and "does not exist" in gone.detail
        found = module("api.photos.identify_faces").sync(client=client, body=models.IdentifyFacesFilesBody(photo(2)))
        assert found.faces[0].person is None and found.reason
