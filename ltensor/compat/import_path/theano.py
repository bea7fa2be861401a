"""``import theano`` in processes that a program under ``ltensor run`` starts: it means ltensor.

The folder of this file, which holds nothing else, is on their ``PYTHONPATH``.
"""

import importlib
import sys

if __name__ == "theano":
    from ltensor import compat

    del sys.modules["theano"]
    compat.install()
    importlib.import_module("theano")
