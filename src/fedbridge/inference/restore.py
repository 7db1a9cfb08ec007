"""From a run's folder, or a site's own, to what a client predicts with once learning is over."""

from collections import defaultdict
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from fedbridge.client.client import FederatedClient
from fedbridge.client.disk import measured_in, newest_state
from fedbridge.client.measuring import mixture_of
from fedbridge.config import SITE, Settings, load_site, title_of
from fedbridge.core.checkpoints import taking_up
from fedbridge.core.errors import UserError
from fedbridge.core.files import file_name, read_json
from fedbridge.core.metrics import AccuracyRow
from fedbridge.core.saved import saved_kind
from fedbridge.core.store import Texts
from fedbridge.data.readers.reading import SAMPLE, Reading
from fedbridge.federation.loop import steps
from fedbridge.federation.setup import Setup, prepare, worker_state_of
from fedbridge.federation.site import site_client, small_at_site
from fedbridge.inference import KIND, LargePredictor, Predictor, foundation, load_predictor
from fedbridge.inference.large import FoundationSettings
from fedbridge.methods.config import Config
from fedbridge.methods.files import load_config
from fedbridge.methods.registry import head_of, learner_of, sharpness_of
from fedbridge.models.device import precision_of
from fedbridge.models.small.classifier import Classifier
from fedbridge.runs.run import CLIENTS, CONFIG, Run, environment, read_accuracy
from fedbridge.server.server import Server
from fedbridge.wire import Broadcast

SITE_FILE = "site.toml"


def predictor_at(folder: Path, client: str | None = None, trust: Collection[str] = ()) -> Predictor:
    """Return the predictor that was saved in a folder, or of a client of the run or site there.

    ``trust`` is for what was saved, perhaps by someone else: see ``load_predictor``. A run and a
    site are one's own. Raises UserError as ``load_predictor``, ``predictor_of_run`` and
    ``predictor_of_site`` do.
    """
    kind = saved_kind(folder)
    if kind == KIND:
        predictor = load_predictor(folder, trust=trust)
    elif kind is not None:
        raise UserError(
            f"{folder}: must hold a run, a site or a {KIND} to predict with, found: {kind}"
        )
    elif is_site(folder):
        predictor = predictor_of_site(folder)
    else:
        return predictor_of_run(folder, client)
    own = predictor.about.get("client")
    if client is not None and client != own:
        raise UserError(f"client: {folder} holds the models of {own!r} alone, found {client!r}")
    return predictor


def is_site(folder: Path) -> bool:
    """Return whether a folder is a site's own: that of a client of a deployment."""
    return (folder / SITE_FILE).is_file()


def predictor_of_site(folder: Path) -> Predictor:
    """Return what a site's client predicts with, from the newest state on the site's own disk.

    Once a run has ended that is what it was measured with last. Before, it is the client as it
    stood after its last exchange. The site's data must be where they were. Raises UserError if
    there is no state, what it was made from is gone, or its learner needs a model for every task.
    """
    own = folder / SITE_FILE
    settings = load_site(own)
    state = newest_state(settings.state)
    if state is None:
        raise UserError(
            f"{settings.state}: must hold a state of client {settings.client!r} to predict from, "
            f"found none: it has taken part in no run yet"
        )
    config = load_config(state / CONFIG)
    _require_one_model(config, folder)
    learner = site_client(config, settings.client, own)
    learner.load(state)
    said = measured_in(state)
    rows = [AccuracyRow(said.client, said.after_task, *row) for row in said.rows] if said else []
    model = small_at_site(config, settings.client, own)
    reading = _reading(learner, getattr(settings.data, "levels", None))
    return _predictor(learner, model, rows, folder, reading)


def predictor_of_run(folder: Path, client: str | None = None) -> Predictor:
    """Return what a client of a run predicts with after the newest checkpoint.

    It knows the classes that the client has met by then. The only client need not be named.
    Raises UserError if the run has no checkpoint yet, its data lie elsewhere, there is no such
    client, or its learner needs a model for every task. In a deployment the clients' states are at
    their sites: see ``predictor_of_site``.
    """
    run = Run.open(folder)
    checkpoint = run.latest_checkpoint()
    if checkpoint is None:
        raise UserError(f"{folder}: must have a checkpoint to predict from, found none")
    if run.config.data.name == SITE:
        raise UserError(
            f"{folder}: the clients of this run, and their data, are at their sites; only there "
            "can it be told how they predict, from the folder that holds a site's site.toml"
        )
    _require_one_model(run.config, folder)
    setup = prepare(run.config)
    name = _chosen(client, tuple(setup.models))
    learner = worker_state_of(setup, (name,)).clients[name]
    _restore(learner, setup, run, checkpoint)
    rows = [row for row in read_accuracy(checkpoint) if row.client == name]
    reading = _reading(learner, run.config.data.levels)
    licences = setup.dataset.licences
    return _predictor(learner, setup.models[name], rows, folder, reading, licences)


def _require_one_model(config: Config, folder: Path) -> None:
    way = config.learner.name
    if learner_of(config).task_model:
        raise UserError(
            f"{folder}: learner.name: must be one whose one model answers for all tasks, found "
            f"{way!r}, which has a model for every task"
        )
    if not head_of(config).linear:
        raise UserError(
            f"{folder}: large.head: must be one that answers for all tasks with one matrix to be "
            f"predicted with, found {config.large.head!r}"
        )


def _predictor(
    learner: FederatedClient,
    model: str,
    rows: list[AccuracyRow],
    folder: Path,
    reading: Reading,
    licences: Texts = (),
) -> Predictor:
    """Return what a client predicts with as it stands, and where that comes from."""
    config, name = learner.shared.config, learner.name
    if not learner.task:
        raise UserError(f"{folder}: client {name!r} has met no class yet")
    about = {
        "client": name,
        "method": config.name,
        "model": model,
        "licences": list(licences),
        "accuracy": measured(rows),
        "environment": environment(config.seed),
        "config": _without_folders(config),
    }
    return predictor_of(learner, model, reading, about)


def _without_folders(config: Settings) -> dict[str, Any]:
    """Return settings as they may leave with a model: own data without the folders they lie in."""
    tree = config.model_dump(mode="json", exclude_none=True)
    tree["data"] |= {key: title_of(tree["data"][key]) for key in ("name", "public")}
    return tree


def predictor_of(
    client: FederatedClient, model: str, reading: Reading, about: dict[str, Any]
) -> Predictor:
    """Return what a client predicts with as it stands; ``model`` is its entry of SMALL_MODELS."""
    shared, config = client.shared, client.shared.config
    seen = client.private.seen(client.task)
    small = Classifier(
        model,
        shared.input_shape,
        tuple(shared.classes[label] for label in seen.tolist()),
        config.small.dimension,
        config.small.temperature,
    ).to(shared.device)
    small.embedder.load_state_dict(client.model.state_dict())
    small.anchors.copy_(shared.anchors[seen])
    large = None
    if config.large.embeds:
        weights = client.head.weights
        assert weights is not None  # of a linear head
        precision = precision_of(config)
        where = config.large.model, config.large.size, shared.device, precision
        large = LargePredictor(
            settings=FoundationSettings.model_validate(config.large.model_dump()),
            precision=precision,
            seed=config.seed,
            fingerprint=foundation(*where).fingerprint,
            lift=shared.lift,
            head=weights[:, seen].clone(),
            part=dict(client.large.part),
        )
    return Predictor(
        small=small.eval(),
        reading=reading,
        mixture=mixture_of(client, client.task),
        sharpness=sharpness_of(config),
        large=large,
        about=about,
        device=shared.device,
    )


def measured(rows: list[AccuracyRow]) -> dict[str, dict[str, Any]]:
    """Return by predictor what was measured last on the tasks met: accuracy and items of each."""
    last = max((row.after_task for row in rows), default=0)
    found: dict[str, dict[str, Any]] = defaultdict(lambda: {"tasks": [], "items": []})
    for row in rows:
        if row.after_task == last >= row.on_task and row.protocol == "class-incremental":
            found[row.predictor]["tasks"].append(row.accuracy)
            found[row.predictor]["items"].append(row.n)
    for one in found.values():
        one["mean"] = float(np.mean(one["tasks"]))
    return dict(found)


def _chosen(client: str | None, names: tuple[str, ...]) -> str:
    if client is None and len(names) == 1:
        return names[0]
    if client not in names:
        named = f"client: name one that this run has, {', '.join(names)}"
        raise UserError(f"{named}; found {client!r}" if client else f"{named}: it has several")
    return client


def _restore(client: FederatedClient, setup: Setup, run: Run, checkpoint: Path) -> None:
    """Bring a client to where it stood at a checkpoint, and let it take what the server then had.

    A head that is trained by gradient comes with every message.
    """
    kept = checkpoint
    if not (checkpoint / f"{file_name(client.name)}.json").is_file():
        kept = _newest_state(run, client.name)
    server = Server(setup.shared, setup.models, lambda function, jobs: [], setup.present)
    with taking_up(kept):
        client.load(kept)
    with taking_up(checkpoint):
        server.load(checkpoint)
        done = int(read_json(checkpoint / "experiment.json", "checkpoint")["done"])
        step = steps(run.config)[done - 1]
    sent = server.broadcast(step).get(client.name)
    client.take(sent or Broadcast(step.task, step.round, adapter=server.large.adapter(client.name)))


def _newest_state(run: Run, name: str) -> Path:
    """Return where a client of Flower's simulation, which has ended, left its last state."""
    folder = run.folder / CLIENTS / file_name(name) / run.token
    found = sorted(folder.glob(f"step-*/{file_name(name)}.json"))
    if not found:
        raise UserError(
            f"{folder}: must hold the states of client {name!r}, found none; those of a deployment "
            "are at its sites, each in the folder that holds its site.toml"
        )
    return found[-1].parent


def _reading(client: FederatedClient, levels: tuple[float, float] | None) -> Reading:
    """Infer from some of a client's items how they are read; ``levels`` only settings say."""
    private = client.private
    rows = private.task(client.task).own[:SAMPLE]
    assert private.items_of is not None
    items, inputs = private.items_of(rows), private.inputs_of(rows).numpy()
    words = inputs.dtype != np.uint8  # token ids are kept in a wider type while they are learnt
    reading = Reading.of(
        items if isinstance(items, np.ndarray) else tuple(items),
        inputs.astype(np.uint16) if words else inputs,
    )
    return replace(reading, levels=levels)
