"""Say what a project's build backend asks for beyond what is declared (PEP 517).

usage: asked.py ROOT BACKEND RESULT [PATH...]
"""

import importlib
import json
import os
import sys

root, backend, result, *path = sys.argv[1:]
os.chdir(root)
sys.path[:0] = path
module, _, attributes = backend.partition(":")
hooks = importlib.import_module(module)
for attribute in filter(None, attributes.split(".")):
    hooks = getattr(hooks, attribute)
hook = getattr(hooks, "get_requires_for_build_wheel", None)
requires = hook() if hook else []
with open(result, "w") as f:
    json.dump(sorted(requires), f)
