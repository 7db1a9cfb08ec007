"""What both sides must hold in common before a run, said in words where they do not."""

import hashlib
import json
import platform
import re
from importlib import metadata

import torch

from fedbridge.config import Settings
from fedbridge.methods.context import SharedContext
from fedbridge.wire import PROTOCOL, Hello

DIGESTS = {
    "classes": "the classes differ",
    "anchors": "the anchors differ",
    "public": "the public set differs",
    "config": "the settings that bind all sides differ",
}
HEX = re.compile(r"\b([0-9a-f]{12})[0-9a-f]{52}\b")


def hello(client: str, shared: SharedContext, foundation: str) -> Hello:
    """Return what a side has to say; ``foundation`` is its FM's fingerprint, empty without one."""
    settings, anchors = shared.config, shared.anchors
    names = json.dumps(shared.classes, ensure_ascii=False).encode()
    public = shared.public_inputs
    return Hello(
        client=client,
        protocol=PROTOCOL,
        fedbridge=metadata.version("fedbridge"),
        torch=torch.__version__,
        python=platform.python_version(),
        # never its path: that concerns this machine alone
        foundation=settings.large.model.partition(":")[0] if foundation else "",
        fingerprint=foundation,
        classes=_digest(f"{len(shared.classes)} classes", names),
        anchors=_digest(f"seed {settings.seed}, dimension {anchors.shape[1]}", *_content(anchors)),
        public=_digest(f"{len(public)} items", *_content(public)),
        config=_digest("settings", binding_bytes(settings)),
    )


def binding_bytes(config: Settings) -> bytes:
    """Return the settings that bind all sides, as bytes to be compared."""
    of_one_side = {"model": True, "batch": True}  # the FM is compared by its fingerprint
    tree = config.model_dump(
        mode="json", exclude={"name": True, "engine": True, "track": True, "large": of_one_side}
    )
    return json.dumps(tree, sort_keys=True).encode()


def differences(mine: Hello, theirs: Hello) -> list[str]:
    """Return in words what keeps two sides from one run; nothing if they may begin."""
    if mine.protocol != theirs.protocol:  # what else it says may then mean something else
        return [_differs("the messages' protocol differs", mine.protocol, theirs.protocol)]
    found = []
    if mine.fedbridge != theirs.fedbridge:
        found.append(_differs("the version of fedbridge differs", mine.fedbridge, theirs.fedbridge))
    for name in ("torch", "python"):
        here, there = str(getattr(mine, name)), str(getattr(theirs, name))
        if _release(here) != _release(there):
            found.append(_differs(f"the release of {name} differs", here, there))
    if mine.fingerprint != theirs.fingerprint:
        found.append(_differs("the foundation model differs", _model(mine), _model(theirs)))
    for name, words in DIGESTS.items():
        here, there = str(getattr(mine, name)), str(getattr(theirs, name))
        if here != there:
            found.append(_differs(words, here, there))
    return found


def _digest(words: str, *contents: bytes | memoryview) -> str:
    digest = hashlib.sha256()
    for content in contents:
        digest.update(content)
    return f"{words}, sha256 {digest.hexdigest()}"


def _content(tensor: torch.Tensor) -> tuple[bytes, memoryview]:
    raw = tensor.detach().cpu().contiguous()
    return f"{raw.dtype} {tuple(raw.shape)}".encode(), raw.flatten().view(torch.uint8).numpy().data


def _release(version: str) -> list[str]:
    """Return the first two numbers: the third and what a build adds change no result's meaning."""
    return version.split(".")[:2]


def _model(side: Hello) -> str:
    return f"{side.foundation}, sha256 {side.fingerprint}" if side.fingerprint else "none"


def _differs(words: str, here: object, there: object) -> str:
    return f"{words}: here {_short(here)}; there {_short(there)}"


def _short(value: object) -> str:
    """Return a value with the first twelve of every digest's digits, enough to tell two apart."""
    return HEX.sub(r"\1", str(value))
