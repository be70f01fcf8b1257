# Build one wheel: $1 is the source archive, $2 the name of the folder to build it in. The folder is
# always the same, because compilers write down where they were.
set -eu
python3 -m venv --without-pip /build/env
pip="/usr/bin/python3 -m pip --python /build/env/bin/python3 --isolated --disable-pip-version-check --no-input --no-cache-dir"
if [ -n "$(ls /build/tools)" ]; then
	$pip install --quiet --no-index --no-deps --no-compile /build/tools/*.whl
fi
python3 -c '
import shutil, sys
shutil.unpack_archive(sys.argv[1], "/build/unpacked", filter="data" if sys.argv[1].endswith("gz") else None)
' "$1"
mkdir /build/src
mv /build/unpacked/* "/build/src/$2"
export PATH="/build/env/bin:$PATH"
$pip wheel --no-index --no-deps --no-build-isolation --check-build-dependencies --use-pep517 --wheel-dir /build/out "/build/src/$2"
