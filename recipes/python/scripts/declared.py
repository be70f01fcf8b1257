"""Unpack the source archives in a folder, and say what their pyproject.toml declares (PEP 518).

usage: declared.py ARCHIVES SOURCES RESULT
"""

import json
import os
import shutil
import subprocess
import sys
import tomllib


def unpack(archive, target):
    os.makedirs(target)
    if archive.endswith(".zip"):
        shutil.unpack_archive(archive, target)
    else:
        subprocess.run(["tar", "-xzf", archive, "-C", target, "--no-same-owner", "--no-same-permissions"], check=True)


def declared(root):
    project = {}
    name = os.path.join(root, "pyproject.toml")
    if os.path.exists(name):
        with open(name, "rb") as f:
            project = tomllib.load(f)
    system = project.get("build-system", {"requires": ["setuptools>=40.8.0"]})
    return {
        "root": root,
        "requires": system.get("requires", []),
        "backend": system.get("build-backend", "setuptools.build_meta:__legacy__"),
        "path": [os.path.join(root, p) for p in system.get("backend-path", [])],
    }


archives, sources, result = sys.argv[1:]
projects = {}
for archive in sorted(os.listdir(archives)):
    target = os.path.join(sources, archive)
    if os.path.exists(target):
        continue
    unpack(os.path.join(archives, archive), target)
    (top,) = os.listdir(target)
    projects[archive] = declared(os.path.join(target, top))
with open(result, "w") as f:
    json.dump(projects, f)
