"""The part of six.moves that programs found under ``theano.compat.six.moves``."""

from __future__ import annotations

import builtins
import configparser
import pickle as cPickle
from functools import reduce
from importlib import reload as reload_module
from io import BytesIO as cStringIO
from io import StringIO
from itertools import filterfalse, zip_longest

__all__ = [
    "StringIO", "cPickle", "cStringIO", "configparser", "filter", "filterfalse", "input", "map",
    "range", "reduce", "reload_module", "xrange", "zip", "zip_longest",
]  # fmt: skip

filter = builtins.filter
input = builtins.input
map = builtins.map
range = builtins.range
xrange = builtins.range
zip = builtins.zip
