"""What config.json or a file's own metadata says about a stack, under one set of names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .. import _validate
from ..errors import FileFormatError

__all__ = ["Config"]

_NAMES = {
    "heads": ("num_attention_heads", "n_head", "num_heads"),
    "kv_heads": ("num_key_value_heads",),
    "layers": ("num_hidden_layers", "n_layer", "num_layers"),
    "width": ("hidden_size", "n_embd", "d_model"),
    "groups": ("num_hidden_groups",),
    "inner": ("inner_group_num",),
    "head_width": ("head_dim",),
    "rotary_width": ("rotary_dim",),
    "patch": ("patch_size",),
    "image": ("image_size",),
    "padding": ("pad_token_id",),
}


class Config:
    """The facts of one stack; what is not said is None."""

    def __init__(self, config: Mapping[str, Any], part: str = "") -> None:
        """Take the sub-config of a tower where there is one."""
        inner = config.get(f"{part}_config")
        self._config = {**config, **inner} if isinstance(inner, Mapping) else dict(config)
        self._part = part

    @property
    def said(self) -> bool:
        """Whether there is a config at all."""
        return any(name in self._config for names in _NAMES.values() for name in names)

    def count(self, name: str) -> int | None:
        """Return a whole number, or None if it is not said.

        Raises
        ------
        FileFormatError
            If it is no positive whole number.
        """
        sides = {"heads": "attention_heads", "layers": "layers"}
        names = _NAMES[name]
        if self._part in ("encoder", "decoder") and name in sides:  # before num_hidden_layers: both there
            names = (f"{self._part}_{sides[name]}", *names)
        for key in names:
            value = self._config.get(key)
            if value is None or (name == "padding" and value == 0):
                continue
            if isinstance(value, list) and value and len(set(map(repr, value))) == 1:
                value = value[0]  # the same in every layer, or for both sides
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise _validate.refusal(
                    FileFormatError,
                    "config.json",
                    f"{key} = {value!r}",
                    "a whole number from 1",
                    "Take the model's own config.json.",
                )
            return value
        return None

    def number(self, *names: str) -> float | None:
        """Return the first of these that is a number."""
        for name in names:
            value = self._config.get(name)
            if isinstance(value, int | float) and not isinstance(value, bool):
                return float(value)
        return None

    def text(self, *names: str) -> str:
        """Return the first of these that is a text, else nothing."""
        for name in names:
            value = self._config.get(name)
            if isinstance(value, str):
                return value
        return ""

    def flag(self, name: str, default: bool = False) -> bool:
        """Return a truth value."""
        return bool(self._config.get(name, default))

    def rope(self) -> tuple[float, str, float]:
        """Return the base of rotary positions, their kind, and the share of a head that turns."""
        said: dict[str, Any] = {}
        for name in ("rope_scaling", "rope_parameters"):
            value = self._config.get(name)
            said |= value if isinstance(value, Mapping) else {"rope_type": value} if value else {}
        kind = str(said.get("rope_type", said.get("type", "default")))
        base = said.get("rope_theta", self.number("rope_theta", "rotary_emb_base") or 10000.0)
        share = said.get("partial_rotary_factor", self.number("partial_rotary_factor", "rotary_pct"))
        return float(base), "default" if kind == "none" else kind, 1.0 if share is None else float(share)
