"""Random variables: streams that draw natively and advance by themselves, also inside loops.

`RandomStreams` draws what NumPy's RandomState draws, `MRG_RandomStreams` is MRG31k3p (both bit
for bit Theano's), `PhiloxStreams` is a counter-based stream for new programs.
"""

from ltensor.random.mrg import MRG_RandomStreams, guess_n_streams, multMatVect
from ltensor.random.philox import PhiloxStreams
from ltensor.random.raw import (
    RandomFunction,
    RandomStateType,
    binomial,
    choice,
    multinomial,
    normal,
    permutation,
    poisson,
    random_integers,
    random_state_type,
    shuffle_row_elements,
    uniform,
)
from ltensor.random.streams import RandomStreams, RandomStreamsBase, randomstate_constructor
from ltensor.shared import RandomStateSharedVariable

__all__ = [
    "MRG_RandomStreams",
    "PhiloxStreams",
    "RandomFunction",
    "RandomStateSharedVariable",
    "RandomStateType",
    "RandomStreams",
    "RandomStreamsBase",
    "binomial",
    "choice",
    "guess_n_streams",
    "multMatVect",
    "multinomial",
    "normal",
    "permutation",
    "poisson",
    "random_integers",
    "random_state_type",
    "randomstate_constructor",
    "shuffle_row_elements",
    "uniform",
]
