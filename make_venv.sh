#!/usr/bin/env bash
# Sets up .venv: a Python that the project runs on, and what pyproject.toml names, as constraints.txt locks it.
#
# PYTHON=python3.12 says which Python; else it stays the one that .venv has, or python3. Where .venv is as it should be
# this does nothing; where it can't be mended, being another Python's or another folder's, it is made anew. One that
# somebody else made, of a Python that fits, is theirs: what lacks is installed there, and nothing is deleted.
set -euo pipefail
cd "$(dirname "$0")"

ready=.venv/.ready
own=.venv/bin/python
made=.venv/.made-here
needed=$(sed -n 's/^requires-python = "\(.*\)"$/\1/p' pyproject.toml)

# What a Python says of itself, whatever its age: version, where it lies, whether it is what is needed, what it lacks.
about='
import os, re, sys
least, below = [tuple(int(n) for n in v.split(".")) for v in re.findall("[0-9]+[.][0-9]+", sys.argv[1])]
fits = least <= tuple(sys.version_info[:2]) < below
base = os.path.realpath(getattr(sys, "base_prefix", sys.prefix))
lacks = ""
try:
    import ensurepip, venv
except ImportError:
    lacks = str(sys.exc_info()[1])
print("|".join([sys.version.split()[0], base, fits and "fits" or "", lacks, getattr(sys, "_base_executable", sys.executable)]))
'

fail() {
    echo "make: $1" >&2
    exit 1
}

# Sets version, base, fits, lacks and executable; fails for what does not run.
ask() {
    local said
    said=$("$1" -c "$about" "$needed" 2>/dev/null) || return 1
    IFS='|' read -r version base fits lacks executable <<<"$said"
}

# Whether the scripts in .venv begin with this folder's Python: a checkout that was moved has the old one's.
is_here() {
    [ ! -e .venv/bin/pip ] || grep -qF "$(pwd -P)/.venv/bin/python" .venv/bin/pip
}

venv_base=
if ask "$own" && [ -n "$fits" ]; then venv_base=$base/$version; fi
python=${PYTHON:-python3}
if [ -z "${PYTHON:-}" ] && [ -n "$venv_base" ]; then python=$own; fi

how="with another Python: PYTHON=/path/to/python3.12 make env"
ask "$python" || fail "$python can't be run, and Python $needed is needed; $how"
[ -n "$fits" ] || fail "$python is Python $version (in $base), and $needed is needed; $how"

if [ -n "$venv_base" ] && [ ! -e "$made" ] && [ "$venv_base" != "$base/$version" ]; then
    echo "make: .venv stays what it is, since it was not made here; rm -r .venv lets PYTHON choose" >&2
    ask "$own"
fi
if [ "$venv_base" = "$base/$version" ] && { [ ! -e "$made" ] || is_here; }; then
    if [ "$ready" -nt pyproject.toml ] && [ "$ready" -nt constraints.txt ]; then exit 0; fi
    clear=
else
    clear=--clear
fi

rm -f "$ready"
if [ -n "$clear" ] || ! "$own" -c "import pip" 2>/dev/null; then
    [ -z "$lacks" ] || fail "$python (Python $version) can't make a .venv: $lacks (on Debian and Ubuntu it is in python${version%.*}-venv); $how"
    [ ! -L .venv ] || fail ".venv is a link to a folder whose Python does not do; rm .venv lets make set up its own"
    echo "setting up .venv with Python $version: a few minutes, about 2.5 GB"
    "$executable" -m venv $clear .venv
    touch "$made"
fi
"$own" -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
touch "$ready"
