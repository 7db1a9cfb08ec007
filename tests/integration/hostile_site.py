"""A client of a deployment that tries in every exchange to end the run or to take it over.

Put on a site's path as ``sitecustomize``, this changes what its SuperNode's program answers.
"""

import json
import sys
from dataclasses import replace

TERMINAL = "\x1b]0;pwned\x07\u202e\u200b"
MOST_ITEMS = 2**24
UPLOADS = {
    (1, 1): "gram",
    (1, 2): "depth",
    (1, 3): "words",
    (2, 1): "weight",
    (2, 2): "model",
    (2, 3): "int64",
}
"""What it does in each step, and below after each task."""
EVALUATIONS = {0: "depth", 1: "words", 2: "int64"}
SAID = {
    "gram": "gram, cross: must be sums of some items' features",
    "depth": "message: not a readable",
    "words": "message: expected",
    "model": "must be finite, found nan",
    "int64": "cannot hold",
}
"""Why each is refused."""


def forged(data: bytes, deed: str) -> bytes:
    """Return a message with other scalars."""
    import torch
    from safetensors.torch import load, save

    arrays = load(data)
    scalars = json.loads(bytes(arrays["scalars"].numpy()))
    field = "seen" if scalars["kind"] == "Upload" else "rows"
    text = json.dumps(
        scalars | {"words": {"kind": TERMINAL}, "int64": {field: [2**63]}}.get(deed, {})
    )
    if deed == "depth":
        text = json.dumps(scalars | {field: "@"}).replace('"@"', "[" * 990 + "]" * 990)
    arrays["scalars"] = torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8)
    return save(arrays)


def spoilt(data: bytes, deed: str) -> bytes:
    """Return an upload as it is sent in the place of an honest one."""
    import torch

    from fedbridge.wire import Upload, decode, encode

    if deed in ("depth", "words", "int64"):
        return forged(data, deed)
    upload = decode(data, "Upload")
    assert isinstance(upload, Upload)
    if deed == "model":
        state = {k: v * torch.nan if v.is_floating_point() else v for k, v in upload.state.items()}
        return encode(replace(upload, state=state))
    if deed == "weight":
        factor = int(MOST_ITEMS // upload.counts.sum())  # of all tasks that were not taken in
        sums = {name: getattr(upload, name) * factor for name in ("gram", "cross", "counts")}
        return encode(replace(upload, **sums, num_examples=upload.num_examples * factor))
    return encode(replace(upload, gram=no_gram(upload.gram, len(upload.cross))))


def no_gram(gram, size):
    """Return products of no features on the diagonal of some features' products."""
    import torch

    upper = torch.triu_indices(size, size)
    lengths = gram[upper[0] == upper[1]].sqrt()
    signs = 1 - 2.0 * torch.randint(2, gram.shape, generator=torch.Generator().manual_seed(0))
    wrong = 0.9 * signs * lengths[upper[0]] * lengths[upper[1]]
    return torch.where(upper[0] == upper[1], gram, wrong)


def instead(answer):
    """Return what is answered in the place of an honest answer."""
    from fedbridge.wire import Evaluation, Upload, decode

    changed = {}
    if answer.upload:
        upload = decode(answer.upload, "Upload")
        assert isinstance(upload, Upload)
        changed["upload"] = spoilt(answer.upload, UPLOADS[upload.task, upload.round])
    if answer.evaluation:
        evaluation = decode(answer.evaluation, "Evaluation")
        assert isinstance(evaluation, Evaluation)
        changed["evaluation"] = forged(answer.evaluation, EVALUATIONS[evaluation.after_task])
    return answer._replace(**changed)


def get_between():
    """Get between the client's program, which is loaded, and its answers."""
    module = sys.modules["fedbridge.runs.flower_app"]
    honest = module.to_record
    module.to_record = lambda answer: honest(instead(answer))


if __name__ == "sitecustomize" and "fedbridge.runs.flower_app" in sys.modules:
    get_between()
