"""A run from its start or its newest checkpoint to its end: drive the loop, measure, store."""

import json
import time
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager
from functools import partial

from fedbridge.core.checkpoints import taking_up
from fedbridge.core.files import read_json
from fedbridge.core.locks import Lock
from fedbridge.core.metrics import summarise
from fedbridge.core.own_metrics import described, own_metrics, with_own
from fedbridge.core.projection import drawn
from fedbridge.federation.local import LocalTransport
from fedbridge.federation.loop import Tell, Transport, federate, steps
from fedbridge.federation.setup import (
    Setup,
    build_worker_state,
    prepare,
    worker_state_of,
    workers_of,
)
from fedbridge.methods.rounds import Noted
from fedbridge.runs.data_check import note_data
from fedbridge.runs.progress import Progress
from fedbridge.runs.run import Run, exclusive_lock, lock_of, read_accuracy
from fedbridge.server.admission import Refused
from fedbridge.server.diverging import cold
from fedbridge.server.measurements import Measurements
from fedbridge.server.server import Server
from fedbridge.server.warm import tried_warm_start
from fedbridge.wire import State, Step

DRAWN = 600
"""Test items whose embeddings are drawn at a run's end, shared out among the clients."""

Connect = Callable[[Setup], AbstractContextManager[Transport]]
"""Gives the transport to an experiment's clients, which it may have to start."""


def connect_locally(setup: Setup) -> LocalTransport:
    """Host all clients on this machine, as the settings say."""
    workers = workers_of(setup.config, setup.shared.device)
    # worker processes load the data themselves, which is quicker than to send them
    build = (
        partial(build_worker_state, setup.config, setup.store)
        if workers
        else partial(worker_state_of, setup)
    )
    return LocalTransport(build, tuple(setup.models), workers, setup.config.engine.threads)


class Experiment:
    """One run, from its start or from its newest checkpoint."""

    def __init__(
        self,
        run: Run,
        tell: Tell | None = None,
        connect: Connect = connect_locally,
        lock: Lock | None = None,
    ) -> None:
        """Take the lock of the run's folder, where whoever calls holds it already."""
        self.run = run
        self.connect = connect
        self._lock = lock or lock_of(run.folder)
        self.config = run.config
        self.tell = tell
        self.seconds: dict[str, float] = {}
        self.bytes_up = 0
        self.bytes_down = 0
        self.prepared = False
        """Whether the data and models have been accepted, so that the run could begin."""
        self.refused = 0
        self._own_metrics = own_metrics(self.config.track.metrics)
        self._mark = self._saved = time.monotonic()

    def run_steps(self) -> Generator[Progress]:
        """Carry the run out; yield after every step, when a checkpoint that was due is written.

        Raises UserError if another process is at it.
        """
        with exclusive_lock(self.run.folder, lock=self._lock), self.run.noting_failure():
            self.run.note_unread()
            yield from self._conduct()

    def _conduct(self) -> Generator[Progress]:
        setup = prepare(self.config, tell=self.tell)
        public = setup.shared.public_inputs.cpu().numpy()
        note_data(self.run, setup.dataset, setup.streams, public)
        self.prepared = True
        self._lap("prepare")
        todo = steps(self.config)
        with self.connect(setup) as transport:
            self._lap("prepare")
            server = Server(setup.shared, setup.models, transport.map_jobs, setup.present)
            self.measured = Measurements(self.config, setup.models)
            done = self._restore(server, transport)
            if not done:
                server.states = self._warm(setup, transport)
                self._evaluate(server, transport, Step(0, self.config.training.rounds))
            for step in federate(server, transport, todo[done:]):
                done += 1
                self._log(step, server, transport)
                self._evaluate(server, transport, step)
                if done == len(todo) or self._is_due():
                    self._checkpoint(done, server, transport)
                traffic = self.bytes_up, self.bytes_down
                rows = [*self.measured.rows]
                yield Progress(step, done, len(todo), rows, *traffic, self.refused)
            self._draw(setup, transport)
            self._summarise(setup, transport)

    def _warm(self, setup: Setup, transport: Transport) -> dict[str, State]:
        if not self.config.starts_warm:
            return {}
        models = sorted(set(setup.models.values()))
        found = dict(zip(models, transport.map_jobs(tried_warm_start, models), strict=True))
        self._lap("warm")
        gone = [(client, m, found[m][1]) for client, m in setup.models.items() if found[m][1]]
        self._note(Step(0, 0), [cold(self.config, *one) for one in gone])
        return {client: found[m][0] for client, m in setup.models.items() if not found[m][1]}

    def _evaluate(self, server: Server, transport: Transport, step: Step) -> None:
        """Have clients measure when a task has ended, and take in what has been measured."""
        if step.round == self.config.training.rounds:
            last = step.task == self.config.scenario.slots
            transport.evaluate(server.broadcast(step), last)
        if taken := transport.take_evaluations():
            self._refuse(step, self.measured.take(taken, step.task))
            for client, choice in self.measured.take_choices():
                self.run.event("accepted", client=client, **choice._asdict())
            self._note(step, self.measured.take_noted())
            self.run.write_accuracy(self.measured.rows)
        self._refuse(step, transport.take_refused())
        self._lap("evaluate")

    def _draw(self, setup: Setup, transport: Transport) -> None:
        """Keep a picture of the shared space, where all clients are here anyway."""
        if samples := transport.sample(max(1, DRAWN // len(setup.models))):
            anchors = setup.shared.anchors.cpu().numpy()
            if picture := drawn(samples, anchors, setup.shared.classes):
                self.run.write_embeddings(picture)

    def _log(self, step: Step, server: Server, transport: Transport) -> None:
        bytes_up, bytes_down, learning = transport.take_traffic()
        total = self._lap("learn")
        self.seconds["learn"] -= total - learning
        self.seconds["fuse"] = self.seconds.get("fuse", 0.0) + total - learning
        self.bytes_up += bytes_up
        self.bytes_down += bytes_down
        place = {"task": step.task, "round": step.round}
        traffic = {"bytes_up": bytes_up, "bytes_down": bytes_down}
        self.run.event("round", **place, seconds=round(total, 3), **traffic)
        for record in server.taught:
            self.run.event("taught", **place, **record._asdict())
        self._note(step, server.noted)
        self._refuse(step, [*transport.take_refused(), *server.refused])

    def _refuse(self, step: Step, refused: list[Refused]) -> None:
        self.refused += len(refused)
        for one in refused:
            self.run.event("refused", **step._asdict(), **one._asdict())

    def _note(self, step: Step, noted: list[Noted]) -> None:
        for one in noted:
            about = {"client": one.client, **one.about, "reason": one.reason}
            self.run.event(one.kind, **step._asdict(), **about)

    def _is_due(self) -> bool:
        return time.monotonic() - self._saved >= self.config.engine.checkpoint_seconds

    def _checkpoint(self, done: int, server: Server, transport: Transport) -> None:
        with self.run.checkpoint(done) as folder:
            server.save(folder)
            transport.save(folder)
            traffic = {"bytes_up": self.bytes_up, "bytes_down": self.bytes_down}
            state = {"done": done, **traffic, "refused": self.refused, "seconds": self.seconds}
            text = json.dumps(state)
            (folder / "experiment.json").write_text(text, encoding="utf-8")
        self._lap("save")
        self._saved = self._mark

    def _restore(self, server: Server, transport: Transport) -> int:
        folder = self.run.latest_checkpoint()
        if folder is None:
            return 0
        with taking_up(folder):
            server.load(folder)
            transport.load(folder)
            state = read_json(folder / "experiment.json", "checkpoint")
            self.bytes_up, self.bytes_down = state["bytes_up"], state["bytes_down"]
            self.refused, self.seconds = state.get("refused", 0), state["seconds"]
            done = int(state["done"])
        self.measured.rows = read_accuracy(folder)
        self.run.write_accuracy(self.measured.rows)  # whatever has become of it since
        self._lap("prepare")
        return done

    def _summarise(self, setup: Setup, transport: Transport) -> None:
        ours = summarise(self.measured.rows)
        results, troubles = with_own(ours, self.measured.rows, self._own_metrics)
        for trouble in troubles:
            self.run.event("warning", message=trouble)
        small, large = (
            results.get(side, {}).get("class-incremental", {}) for side in ("small", "large")
        )
        summary = {
            "method": self.config.name,
            "seed": self.config.seed,
            "clients": list(setup.models),
            "tasks": self.config.scenario.slots,
            "models": setup.models,
            "large": self.config.large.model if large else "none",
            "data": self.config.data.title,
            "results": results,
            **({"metrics": described(self._own_metrics)} if self._own_metrics else {}),
            "temporal_retention": small.get("temporal_retention"),
            "spatial_retention": large.get("spatial_retention"),
            "bytes_up": self.bytes_up,
            "bytes_down": self.bytes_down,
            "refused": self.refused,
            "seconds": {phase: round(s, 3) for phase, s in self.seconds.items()},
            "peak_memory_mib": round(transport.peak_memory_mib(), 1),
        }
        self.run.write_summary(summary)

    def _lap(self, phase: str) -> float:
        """Add the time since the last lap to a phase and return it."""
        now = time.monotonic()
        spent, self._mark = now - self._mark, now
        self.seconds[phase] = self.seconds.get(phase, 0.0) + spent
        return spent
