"""``rerank-plugins models``: every checkpoint it lists can be loaded."""

import json
import subprocess
import sys

import pytest
from click.testing import CliRunner

from rerank_plugins import Reranker, list_presets, load_reranker
from rerank_plugins.cli._models import description, example_prompt, listing, models
from rerank_plugins.presets import find_preset


def command(*arguments):
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "rerank_plugins.cli", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


def test_every_checkpoint_is_listed():
    found = command("models")
    assert found.returncode == 0, found.stderr
    assert found.stdout.rstrip("\n") == listing()
    assert [line.split()[0] for line in found.stdout.splitlines()] == list(list_presets())


@pytest.mark.parametrize("name", list_presets())
def test_every_checkpoint_builds_and_can_be_shown(name):
    preset = find_preset(name)
    assert preset["licence"]
    assert preset["source"]
    reranker = load_reranker(name)
    assert isinstance(reranker, Reranker)
    holds = "adapter" if "adapter" in preset["backend"] else "model"
    held = getattr(reranker.backend, preset.get("package_holds", holds))
    assert held.endswith(preset.get("package", preset["backend"].get(holds, name)))
    assert Reranker.from_spec(reranker.to_spec()).strategy == reranker.strategy
    assert preset["description"] in description(name)
    text = example_prompt(name)
    assert "how long does a flea live" in text
    assert "Adult fleas live for two to three months." in text


def test_the_prompt_is_shown_to_the_character():
    from rerank_plugins.cli._models import EXAMPLE_PASSAGES, EXAMPLE_QUERY
    from rerank_plugins.prompts import load_prompt

    prompt, _ = load_prompt("reasonrank.v1").render(EXAMPLE_QUERY, EXAMPLE_PASSAGES)
    found = command("models", "liuwenhan/reasonrank-7B", "--show-prompt").stdout
    for message in prompt.messages:
        assert f"--- {message.role}\n{message.text}\n" in found
    assert "Title: Flea Content: Adult fleas" in found
    assert "up to 3172 tokens, greedily" in found


def test_the_list_says_how_large_each_is_and_short_names_are_described():
    (mistral,) = (
        line for line in listing().splitlines() if line.startswith("castorini/first_mistral ")
    )
    assert "7.2 B" in mistral
    found = description("first_mistral")
    assert found.startswith("id           castorini/first_mistral\n")
    assert "size         7.2 billion weights, 14.5 GB in 16 bits\n" in found


def test_the_list_and_the_facts_for_machines():
    found = json.loads(CliRunner().invoke(models, ["--json"]).stdout)
    assert {row["id"]: row["description"] for row in found["models"]} == list_presets()
    name = "Qwen/Qwen3-Reranker-0.6B"
    facts = json.loads(CliRunner().invoke(models, [name, "--json"]).stdout)
    assert (facts["id"], facts["strategy"]) == (name, find_preset(name)["strategy"])
    refused = CliRunner().invoke(models, [name, "--json", "--show-prompt"])
    assert refused.exit_code == 2
