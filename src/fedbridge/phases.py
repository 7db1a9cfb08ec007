"""How long each phase of a run should take: what its plan asks for, times this machine's paces."""

import os
from collections.abc import Callable

from fedbridge.client.acceptance import SHARES
from fedbridge.config import Settings
from fedbridge.config.models import TrainedLarge
from fedbridge.data.scenario import ClientStream, Streams
from fedbridge.engine.loop import steps
from fedbridge.methods.context import SharedContext
from fedbridge.methods.digest import Digest
from fedbridge.methods.feddf import FedDF
from fedbridge.methods.obod import OBOD
from fedbridge.methods.registry import fusion_of, head_of, learner_of
from fedbridge.methods.target import TARGET
from fedbridge.pace import LargePace, Pace, pace_of_head, seconds_to_synthesise
from fedbridge.setup import workers_of

SOLUTIONS = 6  # how many heads a client tries per task, as observed


def model_of(config: Settings, client: int) -> str:
    """Return the architecture of a client, counted from 0."""
    return config.small.models[client % len(config.small.models)]


def phases(
    commons: SharedContext, streams: Streams, paces: dict[str, Pace], large: LargePace
) -> dict[str, float]:
    """Extrapolate from the paces to the seconds of each phase."""
    config, public = commons.config, len(commons.public_inputs)
    head, solves = pace_of_head(commons), bool(head_of(config).sums)
    trained = sum(len(task.train) for client in streams.clients for task in client.tasks)
    exchanges = [len(c.tasks) * _rounds(config, c) for c in streams.clients]
    asks = fusion_of(config).needs_public_logits or config.large.absorbs

    def learning(client: ClientStream, pace: Pace) -> float:
        return (
            _steps(config, client) * pace.learn
            + _read(config, client, public) * pace.read
            + _closed(config, client) * pace.close
            + _probed(config, client) * large.train
            + _encoded(client, config, public) * large.read
            + len(client.tasks) * SOLUTIONS * head.solve * solves
        )

    own = [paces[model_of(config, k)] for k in range(len(streams.clients))]

    def divided(cost: Callable[[ClientStream, Pace], float]) -> float:
        return _divided([cost(c, p) for c, p in zip(streams.clients, own, strict=True)], commons)

    courses = dict(zip((c.name for c in streams.clients), _courses(config, streams), strict=True))
    found = {
        "learn": divided(learning) + trained * head.sum_up * solves,
        "fuse": divided(lambda client, pace: courses[client.name] * public * pace.fuse)
        + len(steps(config)) * public * bool(config.large.absorbs) * head.sum_up
        + public * asks * sum(n * p.read for n, p in zip(exchanges, own, strict=True))
        + _synthesis(commons, streams.clients[0], list(paces))
        + _prompted(config, public, large),
        "evaluate": divided(
            lambda client, pace: (
                _measured(client) * (pace.read + large.read)
                + _weighed(config, client, 1) * pace.read
            )
        ),
    }
    if config.starts_warm:
        batches = -(-public // config.training.batch) * config.small.warm_epochs
        found["warm up"] = _divided([batches * pace.learn for pace in paces.values()], commons)
    return found


def _prompted(config: Settings, public: int, large: LargePace) -> float:
    """Return the seconds in which all rounds fuse the clients' prompts on the public set."""
    clients = config.scenario.clients
    if config.large.head != "tail-anchors" or not config.large.tuned or clients == 1:
        return 0.0
    assert isinstance(config.large, TrainedLarge)
    per_item = (clients - 1) * large.read + config.large.probe_epochs * large.train
    return len(steps(config)) * public * per_item


def _rounds(config: Settings, client: ClientStream) -> int:
    """Return in how many rounds of a task a client takes part."""
    return client.rounds or config.training.rounds


def _steps(config: Settings, client: ClientStream) -> int:
    """Return the number of a client's training steps."""
    batches = sum(-(-len(task.train) // config.training.batch) for task in client.tasks)
    return batches * _rounds(config, client) * config.training.epochs


def _kept(config: Settings, client: ClientStream) -> list[int]:
    """Return how many exemplars a client has while it learns each of its tasks."""
    size = getattr(config.learner, "memory", 0) * len(client.seen(len(client.tasks)))
    arrived = [len(task.train) for task in client.tasks]
    return [min(size, sum(arrived[:number])) for number in range(len(arrived))]


def _read(config: Settings, client: ClientStream, public: int) -> int:
    """Return how many items a client's small models embed as it learns, besides training."""
    learner, rounds = config.learner, _rounds(config, client)
    kept = _kept(config, client)
    own = [len(task.train) + more for task, more in zip(client.tasks, kept, strict=True)]
    studied = [count + public for count in own]
    total = _weighed(config, client, rounds)
    if learner_of(config).needs_old_model:  # its former self is asked once per task
        total += sum(studied[1:])
    if getattr(learner, "guide", "large") == "together":
        total += rounds * (sum(studied) + sum(_held_back(client)))
    if getattr(learner, "keep", "") == "herding":
        total += sum(own)
    if getattr(config.fusion, "pull", 0.0):
        total += rounds * sum(len(task.own) for task in client.tasks)
    return total


def _held_back(client: ClientStream) -> list[int]:
    """Return how many validation items a client has from each of its tasks on."""
    counts = [len(task.validation) for task in client.tasks]
    return [sum(counts[: number + 1]) for number in range(len(counts))]


def _weighed(config: Settings, client: ClientStream, times: int) -> int:
    """Return how many items a client embeds to accept a fused model so often in every task."""
    if not getattr(config.fusion, "accept", False):
        return 0
    return times * len(SHARES) * sum(_held_back(client))


def _closed(config: Settings, client: ClientStream) -> int:
    """Return how many items a learner looks at as it closes its tasks."""
    most = getattr(config.learner, "fisher_items", 0)
    return sum(min(len(task.train), most) for task in client.tasks)


def _probed(config: Settings, client: ClientStream) -> int:
    """Return on how many items a client trains its probe, counted again in every epoch."""
    if not isinstance(config.large, TrainedLarge):
        return 0
    items = sum(len(task.train) for task in client.tasks)
    return items * _rounds(config, client) * config.large.probe_epochs


def _encoded(client: ClientStream, config: Settings, public: int) -> int:
    """Return how many items a client's tuned FM encodes as it learns, anew in every round."""
    kept = _kept(config, client)
    own = sum(len(task.train) + more for task, more in zip(client.tasks, kept, strict=True))
    return (own + public * len(client.tasks)) * _rounds(config, client)


def _courses(config: Settings, streams: Streams) -> list[int]:
    """Return for each client how many courses over U the server puts a model through for it."""
    if not isinstance(config.fusion, FedDF):
        return [_lessons(config, client) for client in streams.clients]
    leads = dict.fromkeys(model_of(config, k) for k in range(len(streams.clients)))
    counts = []  # an average is distilled once, whoever goes on from it
    for k, client in enumerate(streams.clients):
        model = model_of(config, k)
        counts.append(_lessons(config, client) if model in leads else 0)
        leads.pop(model, None)
    return counts


def _lessons(config: Settings, client: ClientStream) -> int:
    """Return the largest number of lessons that one student has from teachers."""
    fusion, rounds = config.fusion, _rounds(config, client)
    if isinstance(fusion, Digest):  # of all its teachers together
        return len(client.tasks) * rounds
    if not isinstance(fusion, OBOD):
        return 0
    others = config.scenario.clients - 1 if fusion.others else 0
    earlier = [min(task, fusion.snapshots) for task in range(len(client.tasks))]
    lessons = sum(min(fusion.teachers, others + own) for own in earlier)
    return lessons * (rounds if fusion.rounds == "every" else 1)


def _synthesis(commons: SharedContext, client: ClientStream, models: list[str]) -> float:
    """Return the seconds in which pictures are synthesised after all tasks but the last."""
    fusion, tasks = commons.config.fusion, commons.config.scenario.slots - 1
    if not isinstance(fusion, TARGET) or not tasks:
        return 0.0
    return tasks * fusion.items * seconds_to_synthesise(commons, client, models)


def _measured(client: ClientStream) -> int:
    """Return how many items a client embeds to be measured, before and after every task."""
    tests = [len(task.test) for task in client.tasks]
    held_back = [len(task.validation) for task in client.tasks]
    after = range(1, len(tests) + 1)
    return sum(tests) + sum(sum(tests[: t + 1]) + sum(held_back[:t]) for t in after)


def _divided(costs: list[float], commons: SharedContext) -> float:
    """Return the time of the slowest worker if client k's cost falls to worker k mod workers."""
    engine = commons.config.engine
    workers = workers_of(commons.config, commons.device) or 1
    crowding = max(1.0, workers * engine.threads / (os.cpu_count() or 1))
    return max(sum(costs[w::workers]) for w in range(workers)) * crowding
