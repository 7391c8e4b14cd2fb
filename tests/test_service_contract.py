"""The running service against its own description: generated requests, as it promises and not."""

from __future__ import annotations

from copy import deepcopy

import pytest
import schemathesis
from hypothesis import HealthCheck, settings

from serving.api.openapi import openapi
from serving.prediction import Limits
from tests.served import Served

described = schemathesis.openapi.from_dict(deepcopy(openapi(Limits())))
CALM = {"deadline": None, "suppress_health_check": list(HealthCheck)}


@described.parametrize()
@settings(max_examples=15, **CALM)
def test_the_service_keeps_its_description(case: schemathesis.Case, service: Served) -> None:
    case.call_and_validate(base_url=service.address)


@pytest.mark.soak
@described.parametrize()
@settings(max_examples=2000, **CALM)
def test_the_service_keeps_its_description_in_thousands_of_cases(
    case: schemathesis.Case, service: Served
) -> None:
    case.call_and_validate(base_url=service.address)
