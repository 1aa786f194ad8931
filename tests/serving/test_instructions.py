"""An instruction in a request: who takes it, and what is refused."""

import httpx
import pytest
from rerank_service import PATHS, QUESTION, by_length, running

from rerank_plugins import Reranker
from rerank_plugins.strategies import Pointwise
from rerank_plugins.testing import Oracle

TOLD = "Find what vets say."


@pytest.fixture(scope="module")
def instructed():
    reranker = Reranker(Pointwise(instruction="Find fleas."), Oracle())
    with running(reranker, max_query_chars=30) as url:
        yield url


def told(url, path="/v1/rerank", **fields):
    """The instructions that the model was told."""
    answer = httpx.post(url + path, json={**QUESTION, "explain": True, **fields}).json()
    assert "warnings" not in answer["meta"]
    return {
        call["question"].partition("<Instruct>: ")[2].splitlines()[0] for call in answer["asked"]
    }


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("name", ["instruction", "instruct"])
def test_every_route_takes_it_by_both_names(instructed, path, name):
    assert told(instructed, path, **{name: TOLD}) == {TOLD}


def test_without_one_it_is_the_reranker_s(instructed):
    assert told(instructed) == told(instructed, instruction=None) == {"Find fleas."}


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"instruction": " "}, "instruction is ' ', expected a text that is not blank"),
        ({"instruct": ""}, "instruction is '', expected a text that is not blank"),
        ({"instruction": 7}, "valid string"),
        ({"instruction": "x" * 31}, "at most 30 characters"),
        ({"instruction": TOLD, "instruct": TOLD}, "are one field: give one of them"),
    ],
)
def test_what_is_refused(instructed, fields, says):
    answer = httpx.post(f"{instructed}/v1/rerank", json={**QUESTION, **fields})
    assert answer.status_code == 422
    assert says in answer.json()["detail"]


@pytest.mark.parametrize("documents", [QUESTION["documents"], []])
def test_a_model_without_a_place_for_it_refuses_it(url, documents):
    question = {**QUESTION, "documents": documents, "instruction": TOLD}
    answer = httpx.post(f"{url}/v1/rerank", json=question)
    assert answer.status_code == 422
    assert "PairScore has no place for an instruction" in answer.json()["detail"]


def test_the_interface_describes_it(instructed):
    described = httpx.get(f"{instructed}/openapi.json").json()["components"]["schemas"]
    field = described["RerankRequest"]["properties"]["instruction"]
    assert "also be called instruct" in field["description"]
    assert {"type": "string", "maxLength": 30, "pattern": r"\S"} in field["anyOf"]


def test_an_instruction_when_the_service_starts():
    with pytest.raises(ValueError, match="has no place for an instruction"):
        by_length().with_instruction(TOLD)
    with running(Reranker(Pointwise(), Oracle()).with_instruction(TOLD)) as url:
        assert told(url) == {TOLD}
        assert told(url, instruct="Find fleas.") == {"Find fleas."}
