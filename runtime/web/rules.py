"""``/v1/rules``, ``/v1/receivers`` and ``/v1/groups``: rules for alerts, who gets these, and groups of people."""

from __future__ import annotations

from fastapi import APIRouter, HTTPException

from ..alerts.rule import Rule
from ..core.errors import WorkError
from ..gallery.groups import list_groups, set_groups
from ..gallery.people import Person
from ..service.alert_rules import RuleState, RuleTrial
from .api import find_person
from .dependencies import BUSY, NOT_FOUND, UNAUTHORIZED, ServiceDependency, WorkloadDependency
from .schemas import AlertReceiver, GroupSize, NewGroups, SentTest, TriedRule
from .wire import Cursor, Limit, Page, page_of

router = APIRouter(prefix="/v1", responses=UNAUTHORIZED)


@router.get("/rules", tags=["rules"])
def list_alert_rules(service: ServiceDependency) -> Page[RuleState]:
    """The rules for alerts, in words too, with those that are switched off."""
    return Page(items=service.rules.list_rules(), next=None)


@router.put("/rules/{name}", tags=["rules"])
def set_alert_rule(service: ServiceDependency, name: str, body: Rule) -> RuleState:
    """Make a rule, or replace the one with this name, now and for the next start."""
    service.rules.change(name, body)
    return _find_rule(service, name)


@router.delete("/rules/{name}", status_code=204, responses=NOT_FOUND)
def reset_alert_rule(service: ServiceDependency, name: str) -> None:
    """Undo what was set here: the rule of the configuration is in effect again, or the rule is deleted if the
    configuration has none. A rule of the configuration itself can only be switched off (``enabled``)."""
    if _find_rule(service, name).source != "console":
        raise HTTPException(404, "this rule is from the configuration: switch it off with enabled = false")
    service.rules.change(name, None)


@router.post("/rules/dry-run", tags=["rules"], responses=BUSY)
async def try_alert_rule(service: ServiceDependency, workload: WorkloadDependency, body: TriedRule) -> RuleTrial:
    """What a rule would have sent for the appearances of the last days. It is not stored, and nothing is sent."""
    return await workload.slow.run(lambda: service.rules.try_rule(body.rule, body.days))


@router.get("/receivers", tags=["rules"])
def list_receivers(service: ServiceDependency) -> Page[AlertReceiver]:
    """The receivers of alerts that can get a test message."""
    return Page(items=[AlertReceiver(name) for name in service.rules.testable_receivers()], next=None)


@router.post("/receivers/{name}/test", tags=["rules"], responses=NOT_FOUND | BUSY)
async def test_receiver(service: ServiceDependency, workload: WorkloadDependency, name: str) -> SentTest:
    """Send a test message to a receiver, at once and once. It contains no person. If the receiver gets pictures
    with alerts, the message has a drawn one."""
    if name not in service.rules.testable_receivers():
        raise HTTPException(404, "there is no such receiver")
    try:
        await workload.slow.run(lambda: service.rules.send_test_message(name))
    except WorkError as error:
        return SentTest(False, str(error))
    return SentTest(True, None)


@router.get("/groups", tags=["people"])
def list_people_groups(service: ServiceDependency, limit: Limit = 100, cursor: Cursor = None) -> Page[GroupSize]:
    """The groups of people, by name."""
    groups = [GroupSize(name, len(people)) for name, people in list_groups(service.gallery).items()]
    return page_of(groups, lambda one: (one.name,), limit, cursor)


@router.put("/people/{id}/groups", tags=["people"], responses=NOT_FOUND)
def set_person_groups(service: ServiceDependency, id: str, body: NewGroups) -> Person:
    """Say to which groups a person belongs. A group exists as long as it has members."""
    set_groups(service.gallery, find_person(service, id), body.groups)
    return find_person(service, id)


def _find_rule(service: ServiceDependency, name: str) -> RuleState:
    """Raises HTTPException 404 if there is no rule with this name."""
    found = next((one for one in service.rules.list_rules() if one.name == name), None)
    if found is None:
        raise HTTPException(404, "there is no such rule")
    return found
