# Build one wheel: $1 is the source archive, $2 the name of the folder to build it in. The folder is
# always the same, because compilers write down where they were.
set -eu
python3 -m venv --without-pip /build/env
pip="/usr/bin/python3 -m pip --python /build/env/bin/python3 --isolated --disable-pip-version-check --no-input --no-cache-dir"
if [ -n "$(ls /build/tools)" ]; then
	$pip install --quiet --no-index --no-deps --no-compile /build/tools/*.whl
fi
mkdir /build/unpacked
case "$1" in
*.zip) python3 -m zipfile -e "$1" /build/unpacked ;;
*) tar -xzf "$1" -C /build/unpacked --no-same-owner --no-same-permissions ;;
esac
mkdir /build/src
mv /build/unpacked/* "/build/src/$2"
export PATH="/build/env/bin:$PATH"
$pip wheel --no-index --no-deps --no-build-isolation --check-build-dependencies --use-pep517 --wheel-dir /build/out "/build/src/$2"
