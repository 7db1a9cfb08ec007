"""The server's part of FedWeIT (Yoon et al., ICML 2021): one base, and what tasks added to it.

Adapted: clients send the whole base, not a part that a mask has chosen, so that the federated
parameters are the plain mean of all bases, within each architecture. As in the public code, of
every client the additions of its newest finished task are sent to all.
"""

from fedbridge.config import FedWeIT
from fedbridge.models.commons import Commons
from fedbridge.models.decomposed import ADAPTIVE
from fedbridge.server.averaging import for_everyone, mean_state
from fedbridge.server.round import Fused, Gathered, Spread
from fedbridge.wire import State


def average_base(round_: Gathered, commons: Commons, options: FedWeIT, spread: Spread) -> Fused:
    """Average the bases, ``theta_G = sum_c B_c / C``; at the end of a task share its additions.

    ``shared["NAME/CLIENT"]`` is what a client's newest finished task added to matrix NAME.
    Models of a learner without a base are averaged whole.
    """
    if round_.step.round == commons.config.training.rounds:
        for student in round_.students:
            for name, value in student.state.items():
                if name.startswith(ADAPTIVE):
                    key = f"{name.removeprefix(ADAPTIVE)}/{student.name}"
                    round_.notes[key] = value
    means = {}
    for model in sorted({student.model for student in round_.students}):
        bases = [_base(s.state) for s in round_.students if s.model == model]
        means[model] = mean_state(bases, [1] * len(bases))
    return Fused(for_everyone(means, round_.models), [], dict(round_.notes))


def _base(state: State) -> State:
    return {name: value for name, value in state.items() if not name.startswith(ADAPTIVE)}
