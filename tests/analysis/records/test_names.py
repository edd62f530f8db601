"""Networks, methods and sizes: their words, and where they stand."""

from dataclasses import replace

import pytest

from analysis.paper.versus import paper
from analysis.records.method_names import NO_METHOD, PUBLISHED_METHODS, MethodName, place
from analysis.records.network_names import (
    BAD,
    FULL_MODEL,
    GOOD,
    MAJORITY,
    PUBLISHED_NETWORKS,
    RANDOM,
    RANDOM_START,
    STOPPING,
    WHOLE,
    NetworkName,
    TicketSize,
    named,
)
from lottery_ray.storage.published import FAMILIES, SETTINGS


@pytest.mark.parametrize(
    ("network", "words"),
    [
        (FULL_MODEL, "full"),
        (NetworkName("full", start="frozen"), "frozen encoder"),
        (NetworkName("layer_matched"), "layer-matched"),
        (NetworkName("transfer", source="sst2"), "transfer from SST-2"),
        (RANDOM_START, "random, random start"),
        (replace(BAD, epochs=6), "bad, 6 epochs"),
        (replace(RANDOM_START, rule="bernoulli"), "random, random start (Bernoulli)"),
        (NetworkName("super_bad", rule="released", seeds=2), "super bad (as released, of 2 seeds)"),
    ],
)
def test_networks_are_said_in_words(network: NetworkName, words: str) -> None:
    assert str(network) == words


def test_only_a_transferred_ticket_is_shorter_where_its_kind_is_known() -> None:
    assert NetworkName("transfer", source="sst2").short == "from SST-2"
    assert GOOD.short == "good"


def test_full_models_stand_first_and_controls_behind_all_of_their_kind() -> None:
    bernoulli = replace(RANDOM, rule="bernoulli")
    early = NetworkName("early")
    ordered = [MAJORITY, FULL_MODEL, GOOD, RANDOM, bernoulli, RANDOM_START, BAD, early]
    mixed = [BAD, early, RANDOM_START, FULL_MODEL, bernoulli, MAJORITY, RANDOM, GOOD]
    assert sorted(mixed) == ordered
    assert [network.is_control for network in ordered].count(True) == 1
    assert [network.is_own for network in ordered].count(True) == 1
    assert bernoulli.drawn_as == RANDOM
    assert named([bernoulli, RANDOM], RANDOM) == RANDOM
    assert named([bernoulli, BAD], RANDOM) == bernoulli
    assert named([BAD], RANDOM) is None


def test_sizes_go_from_the_stopping_one_down() -> None:
    half, tenth = TicketSize(0.5), TicketSize(0.1)
    assert sorted([tenth, half, STOPPING, WHOLE]) == [WHOLE, STOPPING, half, tenth]
    assert [str(size) for size in (WHOLE, STOPPING, half)] == ["", "stopping", "0.5"]
    assert [place(MethodName("mlps"), size) for size in (STOPPING, half)] == ["MLPs", "MLPs, at 50%"]


def test_every_published_name_is_known() -> None:
    """Those of the authors' masks and scores, and of the table that comes with the project."""
    for method, network in [*FAMILIES.values(), *SETTINGS.values()]:
        assert str(PUBLISHED_METHODS[method]) == method
        assert str(PUBLISHED_NETWORKS[network]) == network
    assert paper()[["method", "network"]].notna().all(axis=None)
    assert PUBLISHED_METHODS[""] == NO_METHOD
