"""What of a client leaves it after a round: its model, sums of items, and what methods declare."""

from dataclasses import replace
from typing import Any

import numpy as np

from fedbridge.client.private import Indices
from fedbridge.client.state import ClientState
from fedbridge.core.errors import UserError
from fedbridge.core.losses import DivergedError
from fedbridge.core.states import misfit
from fedbridge.methods.context import OwnItems
from fedbridge.methods.registry import declared, exchange_of, fusion_of, head_of
from fedbridge.models.statistics import SufficientStatistics, one_hot, packed
from fedbridge.wire import State, Step, Upload


def upload_of(own: ClientState, step: Step, before: int, acknowledged: int) -> Upload:
    """Return what to upload; own tasks through ``before`` are in the client's own head."""
    own.offered = own.current()
    sent = exchange_of(own.shared.config).to_upload(own.offered, own.notes)
    upload = Upload(
        own.name,
        *step,
        state={k: v.cpu() for k, v in sent.items()},
        seen=tuple(own.seen(own.task).tolist()),
        num_examples=len(own.private.task(own.task).own),
        client_task=own.task,
    )
    upload = replace(upload, extra=extra_of(own))
    large = own.shared.config.large
    rows = own.private.task(own.task).train
    if trainings := own.head.trainable(own.labels(rows), own.seen(own.task), step):
        try:
            return replace(upload, adapter=own.large.train(rows, trainings, step))
        except DivergedError as error:
            return replace(upload, diverged=error.step)
    wanted = head_of(own.shared.config).sums
    if not wanted:
        return upload
    fresh = own.private.released(before, own.task, least=1)
    sums = sums_of(own, fresh)
    if len(fresh):
        own.head.add(sums)
    if large.scope == "client" or acknowledged >= own.task:
        return upload
    rows = own.private.released(acknowledged, own.task, large.min_class_items)
    parts = packed(sums if np.array_equal(rows, fresh) else sums_of(own, rows))
    summed: dict[str, Any] = {name: parts[name] for name in wanted}
    return replace(upload, **summed)


def sums_of(own: ClientState, rows: Indices) -> SufficientStatistics:
    """Return the sums of features and labels of own items."""
    targets = one_hot(own.private.labels[rows], len(own.shared.classes))
    return SufficientStatistics.of(own.private.features_of(rows), targets)


def extra_of(own: ClientState) -> State:
    """Return what the fusion asks for besides the model, no more than declared."""
    config, extra = own.shared.config, fusion_of(own.shared.config).extra
    if extra is None:
        return {}
    rows = own.private.task(own.task).own
    inputs = own.private.inputs_of(rows).to(own.shared.device)
    brought = OwnItems(own.shared, own.model, inputs, own.labels(rows))
    made = {k: v.detach().cpu() for k, v in extra.make(brought, config.fusion).items()}
    if fault := misfit(made, declared(own.shared)):
        raise UserError(f"{config.fusion.name}: extra: {fault}")
    return made
