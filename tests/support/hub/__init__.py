"""A Hub on this machine, for tests of what is pushed and pulled. It knows no xet: clients set HF_HUB_DISABLE_XET=1."""

from tests.support.hub.client import child_environment, use
from tests.support.hub.faults import Fault, lose_answer, meanwhile, refuse, tear_answer, tear_request, wait
from tests.support.hub.server import READER, STRANGER, WRITER, Request, StandIn, stand_in

__all__ = [
    "READER",
    "STRANGER",
    "WRITER",
    "Fault",
    "Request",
    "StandIn",
    "child_environment",
    "lose_answer",
    "meanwhile",
    "refuse",
    "stand_in",
    "tear_answer",
    "tear_request",
    "use",
    "wait",
]
