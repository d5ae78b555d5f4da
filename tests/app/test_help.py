"""What a newcomer types first: --version, --help, the Tab key; and quiet where nobody watches."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys

import numpy as np
import pytest
import typer

import linsim
from linsim.app import complete
from linsim.app.cli import app, main
from linsim.app.help import EXAMPLES, GROUPS

COMMANDS = {c.name or c.callback.__name__ for c in app.registered_commands}


def printed(capsys, *arguments):
    with pytest.raises(SystemExit) as stopped:
        main(list(arguments))
    assert stopped.value.code == 0
    return capsys.readouterr().out


def test_version(capsys):
    assert printed(capsys, "--version").split() == ["linsim", linsim.__version__]


def test_every_command_is_in_one_group_and_has_an_example(capsys):
    grouped = [name for group in GROUPS.values() for name in group]
    assert sorted(grouped) == sorted(set(grouped))
    assert set(grouped) == COMMANDS
    text = printed(capsys, "--help")
    places = [text.index(f"\n{heading}:\n") for heading in GROUPS]
    assert places == sorted(places)
    for name, example in EXAMPLES.items():
        assert f"$ {example}\n" in text  # in one piece: it is there to be copied
        assert example in printed(capsys, name, "--help")


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_are_understood(name):
    command = typer.main.get_command(app).commands[name]
    words = shlex.split(EXAMPLES[name])
    assert words[:2] == ["linsim", name]
    parsed = command.make_context(name, words[2:])  # an unknown option, or a missing one, raises
    given = {word for word in words[2:] if word.startswith("--")}
    assert given <= {option for p in command.params for option in p.opts}
    assert parsed.params


@pytest.mark.parametrize(
    ("function", "begun", "offered"),
    [
        (complete.figures, "regime", ["regime_disk"]),
        (complete.engines, "mod", ["modal"]),
        (complete.metrics, "cosine,log_rank", ["cosine,log_rank_gap"]),
        (complete.statements, "dominance.glo", ["dominance.global"]),
        (complete.workloads, "W3-", ["W3-causal"]),
    ],
)
def test_names_are_completed(function, begun, offered):
    assert function(begun) == offered
    assert function("no such name") == []


def test_statements_are_offered_under_their_own_names():
    from proofs_check import STATEMENTS

    families = {name.partition(".")[0] for name in STATEMENTS}
    assert set(complete.statements("")) == families | set(STATEMENTS)


def asked(shell, words):
    done = subprocess.run(
        [sys.executable, "-m", "linsim"],
        env=os.environ
        | {"_LINSIM_COMPLETE": f"complete_{shell}", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
        | {"_TYPER_COMPLETE_ARGS": words, "_TYPER_COMPLETE_FISH_ACTION": "get-args"},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_shell_completes_commands(shell):
    assert "figures" in asked(shell, "linsim fig")


def test_no_bar_where_standard_error_is_no_terminal(capfd, monkeypatch):
    from linsim.bench import runner, scaling
    from linsim.theory._arnoldi import Work

    with Work(3, bar=True) as work:
        work.step()
    rule = linsim.Linear(linsim.attention.uniform(3), np.eye(2))
    linsim.sweep(lambda p, rng: (rule, rng.standard_normal((len(p["k"]), 3, 2))), {"k": [1, 2]}, depth=1)
    monkeypatch.setattr(runner, "_time", lambda *_: None)
    runner.run(["small"], peers=["linsim"], repeats=1, quick=True)
    monkeypatch.setattr(scaling, "engines", lambda: ["modal"])
    monkeypatch.setattr(scaling, "_points", lambda quick: [])
    monkeypatch.setattr(scaling, "fit", lambda points: None)
    scaling.measure(repeats=1, quick=True)
    assert capfd.readouterr().err == ""
