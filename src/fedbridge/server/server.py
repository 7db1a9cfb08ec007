"""The server: broadcasts, absorbs uploads one by one, fuses, and never sees data."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from fedbridge.core.files import file_name, read_json
from fedbridge.core.states import owned, read_state, settled
from fedbridge.methods.context import SharedContext
from fedbridge.methods.heads import ServerHead
from fedbridge.methods.registry import fusion_of, head_of
from fedbridge.methods.rounds import (
    MapJobs,
    Noted,
    PublicPredictions,
    RoundUploads,
    Student,
    TeachingRecord,
)
from fedbridge.models.small.space import SmallModel
from fedbridge.server.admission import Refused, expectation, refusal
from fedbridge.server.diverging import astray, require_one
from fedbridge.wire import Broadcast, State, Step, Upload

LONGEST = 64  # letters that are noted of a sender's name


class Server:
    """The server of the federation.

    ``models`` maps client names to their small models; ``present`` says who takes part in a step.
    """

    def __init__(
        self,
        shared: SharedContext,
        models: dict[str, str],
        map_jobs: MapJobs,
        present: Callable[[str, Step], bool] = lambda name, step: True,
    ) -> None:
        self.shared = shared
        self.models = models
        self._present = present
        make, options = head_of(shared.config).server, shared.config.large
        self.large: ServerHead = make(shared, tuple(models), options)
        self.states: dict[str, State] = {}
        self.snapshots: dict[str, tuple[PublicPredictions, ...]] = {name: () for name in models}
        self.acknowledged = dict.fromkeys(models, 0)
        self.sent_to_all: State = {}
        self.notes: State = {}
        self.taught: list[TeachingRecord] = []
        self._spread = map_jobs
        config = shared.config
        self._fusion = fusion_of(config)
        self._asks = self._fusion.needs_public_logits or config.large.absorbs
        self._starts = self._common_starts()
        self._expected = expectation(shared, models, self.large.trained)
        self._students: list[Student] = []
        self.refused: list[Refused] = []
        """What was not taken in since the last broadcast."""
        self.noted: list[Noted] = []
        """What else was wrong with clients since then."""
        self._asked: frozenset[str] = frozenset()
        self._took = False  # whether anything came in this round

    def broadcast(self, step: Step) -> dict[str, Broadcast]:
        """Return what each client that takes part gets: its own fused model and the large side.

        From then on uploads of this step are taken in, one from each of these clients.
        """
        asked = [name for name in self.models if self._present(name, step)]
        self._expected, self.refused = self._expected.of_step(step, asked, self.acknowledged), []
        self._asked, self.noted = frozenset(asked), []
        return {
            name: Broadcast(
                *step,
                state=self.states.get(name, self._starts.get(self.models[name], {})),
                adapter=self.large.adapter(name),
                shared=self.sent_to_all,
                acknowledged=self.acknowledged[name],
            )
            for name in asked
        }

    def absorb(self, upload: Upload) -> None:
        """Take in one upload: sums into the head, the model as embeddings of U.

        Sums count once, whatever is lost or comes twice: only those of tasks that the server does
        not hold yet. An upload that is not as it must be is noted in ``refused`` and changes
        nothing: its client goes on from what it was last sent, as if it had been absent.
        """
        name = upload.client
        reason = refusal(upload, self._expected)
        embedding = torch.zeros(0, self.shared.config.small.dimension)
        if not reason and upload.state:  # else the client had nothing new to learn
            embedding, fault = self._answers(name, upload.state)
            reason = f"{name!r}: state: {fault}" if fault else None
        if reason:
            self.refused.append(Refused.of(name[:LONGEST], reason))
            return
        self._expected = self._expected.without(name)
        if upload.client_task > self.acknowledged[name]:
            self.acknowledged[name] = upload.client_task
        else:
            upload = _without_sums(upload)
        self.large.absorb(upload)
        self._took = self._took or bool(upload.state or upload.adapter or len(upload.cross))
        if upload.diverged:
            self.noted.append(astray(self.shared.config, upload))
        if not upload.state:  # the client had nothing new to learn
            return
        predictions = PublicPredictions(name, upload.seen, embedding)
        snapshots = self.snapshots[name]
        model, extras = self.models[name], (upload.num_examples, upload.extra)
        self._students.append(Student(name, model, upload.state, predictions, snapshots, *extras))

    def finish_round(self, step: Step) -> None:
        """Let the large side learn from every small model, then fuse for each client.

        Raises UserError if the small models of all clients that were asked diverged.
        """
        require_one(self._asked, self.noted, step)
        arrived = {student.name: student for student in self._students}
        students, self._students = [arrived[n] for n in self.models if n in arrived], []
        if self._took:  # whose model diverged may have sent what is the large side's
            self.noted += self.large.finish_round([student.predictions for student in students])
        self._took = False
        if not students:  # everybody was absent
            self.taught = []
            return
        fusion = self.shared.config.fusion
        gathered = RoundUploads(step, students, self.notes, self.models)
        fused = self._fusion.fuse(gathered, self.shared, fusion, self._spread)
        self.taught, self.sent_to_all = fused.taught, fused.shared
        self.states |= self._usable(fused.states, arrived)
        self.notes = settled(self.notes)
        last = step.round == self.shared.config.training.rounds
        if last and self._fusion.snapshots(fusion):
            for student in students:
                self._snapshot(student, step.task)

    def save(self, folder: Path) -> None:
        """Write all that the next round needs into the folder."""
        arrays = {
            f"{file_name(c)}/{k}": v for c, state in self.states.items() for k, v in state.items()
        }
        save_file(_apart(arrays), folder / "fused.safetensors")
        kept_parts = {"shared": self.sent_to_all, "notes": self.notes}
        own = {f"{part}/{k}": v for part, state in kept_parts.items() for k, v in state.items()}
        save_file(_apart(own), folder / "fusion.safetensors")
        kept = [k for owned in self.snapshots.values() for k in owned]
        tensors = {k.name: k.embedding.cpu().contiguous() for k in kept}
        save_file(tensors, folder / "snapshots.safetensors")
        seen = {c: [[k.name, k.classes] for k in owned] for c, owned in self.snapshots.items()}
        text = json.dumps({"snapshots": seen, "acknowledged": self.acknowledged})
        (folder / "server.json").write_text(text, encoding="utf-8")
        self.large.save(folder)

    def load(self, folder: Path) -> None:
        """Take up what ``save`` wrote."""
        self.states, named = {}, {file_name(name): name for name in self.models}
        for key, tensor in read_state(folder / "fused.safetensors").items():
            client, _, name = key.partition("/")
            self.states.setdefault(named[client], {})[name] = tensor
        self.sent_to_all, self.notes = {}, {}
        for key, tensor in read_state(folder / "fusion.safetensors").items():
            part, _, name = key.partition("/")
            (self.sent_to_all if part == "shared" else self.notes)[name] = tensor
        tensors = read_state(folder / "snapshots.safetensors", self.shared.device)
        state = read_json(folder / "server.json", "state of the server")
        if known := state["acknowledged"].keys() ^ self.models.keys():
            raise ValueError(f"clients: must be the same, found {min(known)!r} on one side alone")
        self.acknowledged = state["acknowledged"]
        self.snapshots = {
            client: tuple(PublicPredictions(n, tuple(classes), tensors[n]) for n, classes in owned)
            for client, owned in state["snapshots"].items()
        }
        self.large.load(folder)

    def _common_starts(self) -> dict[str, State]:
        """Return the weights each architecture begins with, if the fusion asks for such a start."""
        if not self._fusion.shared_init:
            return {}
        kinds = sorted(set(self.models.values()))
        return {
            kind: {k: v.cpu() for k, v in self.shared.small_model(kind, kind).state_dict().items()}
            for kind in kinds
        }

    def _snapshot(self, student: Student, task: int) -> None:
        new = replace(student.predictions, name=f"{student.name}@task-{task}")
        self.snapshots[student.name] = (*self.snapshots[student.name], new)

    def _usable(self, states: dict[str, State], arrived: dict[str, Student]) -> dict[str, State]:
        """Return fused states; in the place of one that is of no use, what the client sent."""
        faults: dict[int, str | None] = {}  # many clients may get one state
        usable = {}
        for name, state in states.items():
            if name in arrived and state is arrived[name].state:  # which was looked at
                usable[name] = state
                continue
            if id(state) not in faults:
                faults[id(state)] = self.shared.fault(self._model(name, state))
            if not (fault := faults[id(state)]):
                usable[name] = state
                continue
            if name in arrived:
                usable[name] = {key: arrived[name].state[key] for key in state}
            self.noted.append(Noted("diverged", name, f"fusion: {fault}; it keeps what it had"))
        return usable

    def _answers(self, client: str, state: State) -> tuple[Tensor, str | None]:
        """Return embeddings of U, none where nobody asks for them, and what is wrong if any is."""
        model = self._model(client, state)
        if self._asks:
            return self.shared.answers(model)
        return torch.zeros(0, self.shared.config.small.dimension), self.shared.fault(model)

    def _model(self, client: str, state: State) -> SmallModel:
        model = self.shared.small_model(self.models[client], client)
        model.load_state_dict({key: state[key] for key in model.state_dict()})
        return model


def _without_sums(upload: Upload) -> Upload:
    nothing = torch.zeros(0)
    return replace(upload, gram=nothing, cross=nothing, counts=nothing)


def _apart(arrays: State) -> State:
    """Return copies that share no memory, as clients with one average do; files refuse that."""
    return {key: owned(value) for key, value in arrays.items()}
