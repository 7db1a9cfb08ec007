"""Whatever the OpenAPI schema allows is answered as it says, and so is what it forbids."""

import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.specs.openapi.checks import positive_data_acceptance

from fedbridge.inference.serving import Limits, create_app
from predictors import predictor, text_predictor

PICTURES = schemathesis.openapi.from_asgi(
    "/openapi.json", create_app(predictor(), Limits(body=100_000, items=4))
)
TEXTS = schemathesis.openapi.from_asgi(
    "/openapi.json", create_app(text_predictor(), Limits(letters=50, items=4))
)
few = settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))


@PICTURES.parametrize()
@few
def test_a_service_of_pictures_keeps_to_its_schema(case):
    # no schema can say which bytes are a picture
    case.call_and_validate(excluded_checks=[positive_data_acceptance])


@TEXTS.parametrize()
@few
def test_a_service_of_texts_keeps_to_its_schema(case):
    case.call_and_validate()
