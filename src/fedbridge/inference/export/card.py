"""The model card of an exported small model: what it is, what it reads, how good it is."""

from fedbridge.config import title_of
from fedbridge.data.readers.reading import Reading
from fedbridge.inference import Predictor
from fedbridge.models import FOUNDATION_MODELS

TASKS = {"image": "image-classification", "text": "text-classification"}
USES = {
    "model.onnx": "input float32 or int64 `(B, ...)` called `input`, output `scores`",
    "model.pt": "load with `torch.jit.load`; it maps a tensor `(B, ...)` to scores",
    "model.safetensors": (
        "load with `fedbridge.inference.export.hub.HubClassifier.from_pretrained(folder)`"
    ),
}


def model_card(predictor: Predictor, file: str) -> str:
    """Return the card as Markdown with the front matter that the Hugging Face hub reads."""
    about, reading = predictor.about, predictor.reading
    classes = ", ".join(predictor.classes)
    name = " ".join(str(about[key]) for key in ("method", "client") if key in about)
    sections = [
        f"---\nlibrary_name: fedbridge\npipeline_tag: {TASKS[reading.modality]}\n"
        "tags:\n- fedbridge\n- federated-learning\n- continual-learning\n---",
        f"# {name or 'fedbridge'}: {predictor.small.model}",
        "A small model that a client has learnt from a stream of tasks, whose data never left "
        "it, with fedbridge: federated continual learning in which large and small models help "
        "each other (after the method of [arXiv 2508.09489](https://arxiv.org/abs/2508.09489)).",
        f"## Use\n\n`{file}`: {USES[file]}. The softmax of the {len(predictor.classes)} scores "
        "are the probabilities of the classes, in this order; it knows no other class:\n\n"
        f"{classes}",
        f"## What it reads\n\n{preprocessing(reading)}",
        f"## Accuracy\n\n{_accuracies(predictor)}",
        f"## How it was trained\n\n{_training(predictor)}",
        f"## Licences\n\n{_licences(predictor)}",
    ]
    return "\n\n".join(sections) + "\n"


def preprocessing(reading: Reading) -> str:
    """Return in words what is done to an item before the small model reads it."""
    if reading.modality == "text":
        return (
            f"Token ids, int64 `(B, {reading.inputs[0]})`, 0 for padding, as "
            "`fedbridge.core.tokens.tokenize` gives them."
        )
    if not reading.known:
        return f"Pictures, float32 `(B, {', '.join(map(str, reading.inputs))})` in [0, 1]."
    channels, side, _ = reading.inputs
    deep = []
    if reading.levels is not None:
        low, high = reading.levels
        deep = [f"values of more than 8 bits clipped to {low:g}, black, and {high:g}, white"]
    steps = [
        *deep,
        "the picture on white paper",
        f"its middle square scaled to {side} x {side} pixels "
        + ("by averaging" if reading.box else "by Lanczos's filter"),
        "grey" if channels == 1 else "red, green, blue",
        *(["black for white"] if reading.inverted else []),
        "divided by 255",
    ]
    return f"Pictures, float32 `(B, {channels}, {side}, {side})`: {'; '.join(steps)}."


def _accuracies(predictor: Predictor) -> str:
    accuracy = predictor.about.get("accuracy")
    if not accuracy:
        return "Not measured."
    numbers = range(1, len(next(iter(accuracy.values()))["tasks"]) + 1)
    lines = [
        "Percent right among all classes met, on test items of each of the client's tasks, after "
        "the last one. `small` is this model; `large` and `together` need the foundation model.",
        "",
        "| | " + " | ".join(f"task {n}" for n in numbers) + " | mean |",
        "|---|" + "---|" * (len(numbers) + 1),
    ]
    for side, found in accuracy.items():
        cells = [f"{100 * share:.1f}" for share in (*found["tasks"], found["mean"])]
        lines.append(f"| {side} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _training(predictor: Predictor) -> str:
    config = predictor.about.get("config")
    if not config:
        return "Unknown."
    large, training = config["large"], config["training"]
    teacher = "none" if large["head"] == "none" else f"`{large['model']}` ({large['head']} head)"
    return "\n".join(
        [
            f"- data: `{title_of(config['data']['name'])}`; "
            f"client `{predictor.about.get('client')}`",
            f"- learner on the client: `{config['learner']['name']}`; fusion on the server: "
            f"`{config['fusion']['name']}`",
            f"- large model: {teacher}",
            f"- {training['rounds']} rounds per task of {training['epochs']} epochs, AdamW, rate "
            f"{training['lr']:g}; seed {config['seed']}",
            "- all settings: `about.config` in `config.json`",
        ]
    )


def _licences(predictor: Predictor) -> str:
    about = predictor.about
    lines = [f"- data: {line}" for line in about.get("licences") or ["as their owner says"]]
    config = about.get("config")
    if config and config["large"]["head"] != "none":
        spec = config["large"]["model"]
        entry = FOUNDATION_MODELS.get(spec)
        said = entry.licence if entry else "as its owner says"
        lines.append(f"- foundation model that taught it, `{spec}`: {said}")
    return "\n".join(lines)
