"""Names that a result does not hold are explained, whatever mapping they are asked of."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

import linsim
from linsim.errors import UnknownNameError

A, H = linsim.attention.uniform(3), np.diag([1.0, 0.5])
RULE, X = linsim.Linear(A, H), np.eye(3, 2)
RUN = linsim.simulate(RULE, X, 40, metrics=["effective_rank", "log_norm", "log_rank_gap"])
LAW = linsim.predict(RULE)
STEP = linsim.theory.step(RULE, X)

MAPPINGS = {
    "run.metrics": RUN.metrics,
    "run.errors": RUN.errors,
    "run.info.unmeasured_from": RUN.info.unmeasured_from,
    "law.rates": LAW.rates,
    "law.relaxations": LAW.relaxations,
    "law.beats": LAW.beats,
    "comparison.rows": linsim.compare(LAW, RUN).rows,
    "step.before": STEP.before,
    "step.after": STEP.after,
    "step.change": STEP.change,
    "step.alone": STEP.alone,
    "step.without": STEP.without,
}


@pytest.mark.parametrize("title", MAPPINGS)
def test_a_missing_name_is_one_clear_line(title):
    for mapping in (MAPPINGS[title], pickle.loads(pickle.dumps(MAPPINGS[title]))):
        with pytest.raises(KeyError) as caught:
            mapping["nonsense"]
        message = str(caught.value)
        assert isinstance(caught.value, UnknownNameError)
        assert message.startswith(f"{title}: found 'nonsense'; expected one of ")
        assert all(repr(name) in message for name in mapping)
        assert mapping.get("nonsense") is None
        assert "nonsense" not in mapping


@pytest.mark.parametrize(
    ("mapping", "name", "remedy"),
    [
        ("run.metrics", "rank", "Did you mean 'effective_rank' or 'log_rank_gap'?"),
        ("run.metrics", "log_rank_gp", "Did you mean 'log_rank_gap'?"),
        ("run.metrics", "cosine", "Record it: simulate(..., metrics=['cosine'])."),
        ("run.metrics", "cosin", "Record it: simulate(..., metrics=['cosine'])."),
        ("run.metrics", "gpu", "Choose one of them."),
        ("law.rates", "rank", "Did you mean 'rank_gap'?"),
    ],
)
def test_the_remedy_is_the_next_thing_to_do(mapping, name, remedy):
    with pytest.raises(UnknownNameError) as caught:
        MAPPINGS[mapping][name]
    assert str(caught.value).endswith(remedy)


def test_results_of_other_libraries_keep_their_explanations():
    with pytest.raises(UnknownNameError, match=r"law\.rates"):
        linsim._callers.on_host(LAW).rates["nonsense"]


@pytest.mark.parametrize("word", ["gpu", "GPU", "cuda", "cupy"])
def test_a_graphics_card_is_asked_for_by_backend(word):
    with pytest.raises(linsim.LinsimError, match="pass backend='cupy'"):
        linsim.simulate(RULE, X, 1, method=word)
    if word != "cupy":
        with pytest.raises(linsim.LinsimError, match="pass backend='cupy'"):
            linsim.simulate(RULE, X, 1, backend=word)


@pytest.mark.parametrize("word", ["xyz", "gpu", "quick"])
def test_no_guess_is_made_for_another_word(word):
    from linsim.checks import choice

    with pytest.raises(linsim.LinsimError, match="Choose one of them"):
        choice(word, "method", ("auto", "modal", "lanes"))
