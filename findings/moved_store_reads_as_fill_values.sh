#!/usr/bin/env bash
# zarr 3.1.6 and xarray 2026.9.0: a dataset that was opened lazily, and whose store's folder is then renamed.
#
# What one expects (no guess was written down before it was met): an error that names the folder that is gone.
#
# Seen: no error and no warning.  Floats read as NaN, integers as 0, truth values as False: a chunk that is not
# there stands for fill values in Zarr, and so does every chunk of a folder that is not there.  Whoever moves a
# store while a notebook still has it open goes on with numbers that were never written.
#
# Exits non-zero if any of this changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q zarr==3.1.6 xarray==2026.9.0 numpy==2.4.6 >/dev/null
cat >"$folder/look.py" <<'PYTHON'
import os
import warnings

import numpy as np
import xarray as xr

whole = xr.Dataset(
    {
        "floats": ("n", np.arange(1.0, 5.0)),
        "integers": ("n", np.arange(1, 5)),
        "truths": ("n", np.ones(4, dtype=bool)),
    }
)
whole.to_zarr("store.zarr", zarr_format=3, consolidated=False)
opened = xr.open_zarr("store.zarr", chunks=None, consolidated=False)
os.rename("store.zarr", "elsewhere.zarr")
with warnings.catch_warnings():
    warnings.simplefilter("error")
    found = opened.load()
for name in whole:
    print(f"{name}: {whole[name].values} in the store, {found[name].values} read")
assert np.isnan(found["floats"].values).all()
assert not found["integers"].values.any()
assert not found["truths"].values.any()
assert xr.open_zarr("elsewhere.zarr", consolidated=False).load().identical(whole)
PYTHON
cd "$folder"
"$folder/venv/bin/python" look.py
