#!/bin/sh
# Set up a virtual environment with segspectral and what its tests need: tools/install.sh PYTHON VENV
# Uses uv if it is there, else pip. Leaves the CRF out, and says so, where it cannot be compiled.
set -eu
python=$1
venv=$2

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "segspectral needs Python 3.11 or newer; $python is $("$python" --version 2>&1). Try: make PYTHON=python3.12" >&2
    exit 1
}
"$python" -c 'import venv, ensurepip' 2>/dev/null || {
    echo "Python's venv module is missing. On Debian or Ubuntu: sudo apt-get install python3-venv" >&2
    exit 1
}
free=$(df -Pk . | awk 'NR == 2 { print int($4 / 1048576) }')
if [ "$free" -lt 8 ] && [ ! -d "$venv" ]; then
    echo "Only $free GB of disk are free; torch and its libraries take about 6 GB, 8 GB should be free." >&2
    exit 1
fi

extras=torch,crf,cluster,geo,heic,imagej,large,onnx,web,zarr
if ! command -v gcc >/dev/null || ! "$python" -c '
import os, sys, sysconfig
sys.exit(not os.path.exists(os.path.join(sysconfig.get_paths()["include"], "Python.h")))'; then
    extras=torch,cluster,geo,heic,imagej,large,onnx,web,zarr
    echo "gcc or Python.h is missing: installing without the CRF; the guided filter refines instead." >&2
    echo "For the CRF, on Debian or Ubuntu: sudo apt-get install gcc g++ python3-dev, then make clean and again." >&2
fi

echo "Installing into $venv: about 6 GB and one to three minutes."
if command -v uv >/dev/null; then
    [ -x "$venv/bin/python" ] || uv venv --quiet --python "$python" "$venv"
    install() { VIRTUAL_ENV="$venv" uv pip install --quiet --constraint constraints.txt "$@"; }
else
    [ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
    "$venv/bin/python" -m pip install --quiet --upgrade 'pip>=25.1'
    install() { "$venv/bin/python" -m pip install --quiet --constraint constraints.txt "$@"; }
fi

install -e ".[$extras]" --group dev || {
    echo "The CRF did not compile: installing without it; the guided filter refines instead." >&2
    install -e '.[torch,cluster,geo,heic,imagej,large,onnx,web,zarr]' --group dev
}
