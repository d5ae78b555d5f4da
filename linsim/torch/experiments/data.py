"""Small real data that install from the package index: scikit-learn's digits, and its own texts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ... import _validate
from ...errors import MissingExtraError

__all__ = ["CORRUPTIONS", "Characters", "Digits", "characters", "digits"]

Tensor = Any

#: what is done to the training set, and to no other
CORRUPTIONS = {
    "clean": "nothing",
    "labels": "a fifth of the labels drawn anew",
    "pixels": "three tenths of the pixels drawn anew",
}


def _sklearn() -> Any:
    try:
        import sklearn.datasets
    except ImportError as error:
        raise _validate.refusal(
            MissingExtraError,
            "scikit-learn",
            "it not installed",
            "it, for the data of the experiments",
            "Run pip install 'linsim[train]'.",
        ) from error
    return sklearn.datasets


@dataclass(frozen=True)
class Digits:
    """Images as 16 tokens, the 2 x 2 patches of 8 x 8 pixels: (k, 16, 4) in [-1, 1], and labels (k,)."""

    train: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]


def digits(*, fraction: float = 1.0, corruption: str = "clean", seed: int = 0) -> Digits:
    """Return scikit-learn's digits, a fifth of them to test on (the same whatever the seed).

    Parameters
    ----------
    fraction : float
        Share of the other four fifths to train on.
    corruption : str
        One of CORRUPTIONS, of the training set.
    seed : int
        Of what is left out and corrupted.
    """
    images, labels = _sklearn().load_digits(return_X_y=True)
    patches = images.reshape(-1, 4, 2, 4, 2).transpose(0, 1, 3, 2, 4).reshape(-1, 16, 4) / 8 - 1
    order = np.random.default_rng(2401).permutation(len(labels))
    test, rest = order[: len(order) // 5], order[len(order) // 5 :]
    rng = np.random.default_rng([seed, 1])
    rest = rng.permutation(rest)[: max(1, round(fraction * len(rest)))]
    x, y = patches[rest].copy(), labels[rest].copy()
    if corruption == "labels":
        wrong = rng.random(y.shape) < 0.2
        y[wrong] = rng.integers(0, 10, wrong.sum())
    elif corruption == "pixels":
        wrong = rng.random(x.shape) < 0.3
        x[wrong] = rng.uniform(-1, 1, wrong.sum())
    return Digits(_pair(x, y), _pair(patches[test], labels[test]))


def _pair(x: Any, y: Any) -> tuple[Tensor, Tensor]:
    return torch.as_tensor(x, dtype=torch.float32), torch.as_tensor(y, dtype=torch.int64)


@dataclass(frozen=True)
class Characters:
    """A text as numbers: the commonest characters from 0, then one for all others; one more hides a place.

    ``entropy`` (nats) is what a guess by the frequencies of the training text costs a character of the test.
    """

    train: Tensor
    test: Tensor
    alphabet: int
    entropy: float


def characters(alphabet: int = 48) -> Characters:
    """Return the texts on its data sets that scikit-learn ships, one after the other, in lower case.

    Every tenth stretch of 512 characters is to test on.
    """
    from importlib.resources import files

    _sklearn()
    folder = files("sklearn.datasets") / "descr"
    pages = sorted(
        (page for page in folder.iterdir() if page.name.endswith(".rst")), key=lambda page: page.name
    )
    text = " ".join(" ".join(page.read_text(encoding="utf-8").lower().split()) for page in pages)
    counted = sorted(set(text), key=lambda c: (-text.count(c), c))[: alphabet - 1]
    number = {c: i for i, c in enumerate(counted)}
    whole = np.array([number.get(c, alphabet - 1) for c in text])
    stretches = whole[: len(whole) // 512 * 512].reshape(-1, 512)
    held = np.arange(len(stretches)) % 10 == 5
    train, test = stretches[~held], stretches[held]
    share = (np.bincount(train.ravel(), minlength=alphabet) + 0.5) / (train.size + 0.5 * alphabet)
    entropy = -np.log(share[test.ravel()]).mean()
    return Characters(torch.as_tensor(train), torch.as_tensor(test), alphabet, float(entropy))
