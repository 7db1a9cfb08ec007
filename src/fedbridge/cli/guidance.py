"""Which page helps with which error: the line that follows an error on the command line."""

import re

PAGE = "docs/{page}.md"
"""Where the documents are; where they have an address, this becomes ``https://.../{page}.html``."""
TOPICS: dict[str, str] = {
    "something-of-your-own-cannot-be-used": (
        r"^[^ ]*(data\.(name|public)|scenario\.kind|track\.metrics|data set|list):? [\w.]+:\w+\b"
        r"|must return (a Division|Items|a number)|must yield a Part|takes no options|^list: "
    ),
    "pictures-of-unknown-depth": (
        r"black and white cannot be known|the upper 8 are read|\blevels: "
        r"|black and a larger|pages; save each|must be numbers, found|in every pixel"
    ),
    "settings-of-a-deployment": (
        r"^(clients|hosts|port|days): |SUPERLINK:|must be NAME=VALUE|these settings:"
        r"|_PORT: port|listened at: .*server\.env"
    ),
    "the-settings-of-a-run-have-changed": r"has been changed since this|which are others than",
    "the-configs-file-cannot-be-read": (
        r"cannot read this|not valid TOML|extends (itself|must)|levels deep|must be UTF-8:"
    ),
    "models-of-several-architectures": r"small\.models: must be of one architecture",
    "damaged-files": (
        r"(summary|environment)\.json: (?!cannot)|delete (folder|its cache)|damaged|no domain of"
        r"|no checkpoint|must be JSON|first line must|must be a measurement|must be an object"
        r"|every row must be there once|must be the manifest of|was saved$"
        r"|cannot be read as a client|^config\.json: |fingerprint must match"
    ),
    "training-diverges": r"diverged",
    "a-saved-model-names-a-function": r"allow it by name",
    "a-package-is-missing": r"pip install|needs the (package|extra)",
    "the-hugging-face-hub": r"[hH]ub (cannot be reached|does not give)",
    "columns-of-a-hub-data-set": r"data\.hub|save_to_disk",
    "a-setting-is-refused": (
        r"unknown key|is now called|belongs to large|Input should|Field required"
        r"|must have the form a\.b="
        r"|(learner|fusion)\.name|run config|must be below 1|must be given"
        r"|data\.\w+ is only for data\.name = 'site'|options is only for"
    ),
    "a-small-model-does-not-fit": r"small\.models:",
    "tuning-the-foundation-model": r"large\.tuning|one that is tuned",
    "your-own-foundation-model": (
        r"large\.model: .*(must (return|map|read|answer)|cannot be used|no such"
        r"|weights must be complete)"
    ),
    "the-foundation-model-does-not-fit": r"large\.(model|size|head):",
    "a-download-fails": (
        r"download|is fetched with|sha256 must be|the archive|holds none of|cannot be unpacked"
        r"|IDX file|is no synset|must begin with|must hold .* bytes"
    ),
    "no-gpu": r"engine\.device",
    "a-worker-process-died": r"engine\.workers",
    "clients-are-missing": r"engine\.quorum",
    "flowers-simulation-does-not-start": r"engine\.kind",
    "the-public-set": r"data\.public|another public set|scenario\.public|public set must",
    "the-disk-is-full": r"disk (is )?full|No space left",
    "the-folder-is-in-use": (
        r"new or (an )?empty folder|let it end first|has other settings"
        r"|was not started by a deployment"
    ),
    "this-is-no-run": r"run's folder must hold|must hold accuracies|nothing to report",
    "a-file-cannot-be-written": r"cannot (be written|write here)|a picture must end",
    "too-few-items": r"one validation and one test item|must have a training item",
    "a-table-is-not-read-as-meant": (
        r"must be (a )?CSV|NUL bytes|encoding throughout|quotes leave open|must stand once"
        r"|a spreadsheet is|header reads as|must be stated|labels must be names|date_format"
    ),
    "your-own-data-do-not-fit": (
        r"data\.own|scenario\.kind|'given'|has the (tasks|domains) .*; found|task or date"
        r"|(data have|which has|have) changed|changed since; bring"
        r"|from_arrays|must be an array|^(items|labels|classes|domains|tasks|groups|split): "
        r"|must lie in|data itself|at least two classes"
        r"|of a client must have a test|picture must lie|must not end|no such file or folder"
        r"|say 'train' or 'test'|the folders 'train'|with folders in them"
    ),
    "too-few-classes": r"classes are needed|scenario\.(private_classes|order|clients|tasks)",
    "who-is-there-when": (
        r"scenario\.(joins|leaves|repeats|participation_rounds|data_fraction)|at most one value"
    ),
    "parts-that-share-items": r"in common|official division|must not be on both sides",
    "the-data-set-is-unknown": r"data\.(name|domains):|is not cached",
    "a-label-or-a-value-is-wrong": (
        r"data\.classes|must have a (label|content|value|text|picture)"
        r"|must hold (numbers|dates|one)"
    ),
    "a-sites-database": r"data\.url_variable|the database refuses|table or query|single SELECT",
    "a-sites-columns": r"must be one of the columns|data\.split|data\.modality",
    "what-is-to-be-predicted-cannot-be-read": (
        r"^(x|y|items\[.*\]|\.\.\.: (x|y)|--limit)\b|must be base64"
        r"|a uint8 array|a PIL picture|read as a picture: "
    ),
    "a-sites-folder": (
        r"must be a folder (of|for)|folder for each|must hold pictures|must be a picture|but leads"
        r"|must be a file|must be a CSV|must be a Parquet|must hold files|must have rows|must end"
    ),
    "a-task-of-a-site-is-refused": r"items cannot be used|has learnt|task '?.* must have items",
    "a-sites-own-file": r"client: must be|data\.kind|common config",
    "certificates-and-keys": (
        r"certificate|\bkey\b|register\.sh|ca\.crt|must be (signed|private)|clock right"
        r"|expired|renew"
    ),
    "the-server-cannot-be-reached": (
        r"\bgate\b|SuperLink|TLS|no such name|no answer in|nothing listens|cannot be reached"
        r"|machine's clock"
    ),
    "sides-that-differ": r"differs:|agreed|deploy configure|flwr: must be of release",
    "a-deployments-folder": r"deploy init|already a client|those of the deployment|checks found",
    "a-message-is-refused": r"message: |request: |must have at most .* bytes|too long ago",
    "suites": r"must fit a (run|scenario)|of this suite|role 'ours'|every name must be there once",
    "there-is-nothing-to-predict-with": (
        r"a saved predictor|to predict with|has met no class"
        r"|of kind .* and format|states? of client|checkpoint to predict"
        r"|is not finished|client: name one|only there can it be told|holds the models of"
    ),
    "an-export-is-refused": r"format: ",
    "a-model-by-name-cannot-be-had": (
        r"timm|type of transformers|cannot be used: th|weights must be complete"
        r"|model: must be one of"
    ),
    "the-dashboard-does-not-start": r"dashboard: |folder with runs|cannot be listened at",
}
"""Headings of the page on troubleshooting, each with what a message looks like that it explains.
The first that fits counts."""


FILES: dict[str, tuple[str, tuple[str, ...]]] = {
    r"^[^:]*site\.toml: ": (
        "a-sites-own-file",
        ("the-configs-file-cannot-be-read", "a-sites-database"),
    ),
    r"^[^:]*(server|client)\.env: ": ("settings-of-a-deployment", ()),
    r"^[^:]*\.toml: ((scenario|method) ('[^']*'|number \d+)|method|seeds|suite|scenario(?=: (Field"
    r" required|Input should be a valid tuple|Tuple|every))): ": ("suites", ()),
}
"""Files whose faults are explained under one heading, but for what the others there explain."""
SETTING = r"^[^:]*\.toml: |^[a-z]+\.[a-z_.]+:? must "
"""What a message about a setting looks like that no topic foresees."""


def page_for(message: str) -> str:
    """Return the page, and its heading if there is one, that helps with an error's message."""
    page = PAGE.format(page="troubleshooting")
    anchor = _anchor(message)
    return f"{page}#{anchor}" if anchor else page


def _anchor(message: str) -> str:
    for file, (heading, others) in FILES.items():
        if re.search(file, message):
            found = (topic for topic in others if re.search(TOPICS[topic], message))
            return next(found, heading)
    fitting = (topic for topic, pattern in TOPICS.items() if re.search(pattern, message))
    return next(fitting, "a-setting-is-refused" if re.search(SETTING, message) else "")
