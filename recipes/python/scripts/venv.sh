# Make the virtual environment $1 from the wheels that are pinned in /build/requirements.
#
# Everything is compiled at once, by one process and in the order of names, into bytecode that is
# bound to its source by nothing but its place: no clock gets in, and nothing is compiled or checked
# again where it runs. Several processes would take files in the order of their luck, and what one
# compiled before shows in the next file (which of two equal strings is shared).
set -eu
python3 -m venv "$1"
"$1/bin/python3" -m pip install --isolated --disable-pip-version-check --no-input --no-cache-dir --quiet \
	--no-index --no-deps --no-compile --no-warn-script-location --require-hashes \
	--find-links /build/wheels --requirement /build/requirements
"$1/bin/python3" -m pip --isolated --disable-pip-version-check check
find "$1" -name __pycache__ -prune -exec rm -r {} +
# Templates and tests of packages need not be Python that compiles; pip does not mind either.
"$1/bin/python3" -m compileall -q --invalidation-mode unchecked-hash "$1/lib" || echo "the files above stay without bytecode"
