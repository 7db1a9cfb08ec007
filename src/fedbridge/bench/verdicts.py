"""The bars that the method has to clear, and whether it does."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from fedbridge.bench.outcome import MethodRuns
from fedbridge.bench.significance import Test, compared_with_ours
from fedbridge.core.wording import percent

FINAL = "final_accuracy"
BOTH = ("small", "together")
AHEAD, AHEAD_SMALL, PART, EQUAL = 0.02, 0.03, 0.01, 0.02
LEVEL = 0.05
SHARE_OF_POOLED = 0.97
SLACK = 1e-9  # a difference of exactly two points is two points


class Verdict(NamedTuple):
    """One bar: what it asks, what was found, and whether that is enough (None: undecided)."""

    bar: str
    needed: str
    found: str
    met: bool | None


class Rival(NamedTuple):
    """What ours is measured by: a method's mean accuracy with one of its predictors."""

    group: MethodRuns
    predictor: str
    accuracy: float

    def __str__(self) -> str:
        return f"{self.group.name} ({self.predictor} {percent(self.accuracy)})"


def verdicts(groups: Sequence[MethodRuns]) -> list[Verdict]:
    """Return a verdict on every bar that the methods of one scenario allow to judge.

    A method counts once all its runs are finished: a mean over fewer seeds is another mean.
    """
    groups = [group for group in groups if group.complete]
    ours = next(iter(_with_role(groups, "ours")), None)
    if ours is None:
        return []
    return [
        *_ahead_together(ours, _with_role(groups, "baseline")),
        *_ahead_alone(ours, _with_role(groups, "baseline")),
        *_parts(ours, _with_role(groups, "part")),
        *_equals(ours, _with_role(groups, "equal")),
        *_forward(ours),
        *_bounds(ours, _with_role(groups, "bound")),
    ]


def _ahead_together(ours: MethodRuns, baselines: Sequence[MethodRuns]) -> Iterator[Verdict]:
    """``together`` is two points above the best baseline, whichever predictor is its best."""
    own = ours.mean(FINAL, "together")
    rivals = [found for group in baselines if (found := _best(group))]
    if own is None or not rivals:
        return
    tests = compared_with_ours(
        ours.finals("together"), [rival.group.finals(rival.predictor) for rival in rivals]
    )
    rival, test = max(zip(rivals, tests, strict=True), key=lambda pair: pair[0].accuracy)
    gap = own - rival.accuracy
    enough = gap >= AHEAD - SLACK
    yield Verdict(
        "together beats the best baseline",
        f"≥ {percent(AHEAD)} points, p < {LEVEL:g}",
        f"{points(gap)} over {rival}, {p_in_words(test)}",
        enough and test.p < LEVEL if test.p is not None else (None if enough else False),
    )


def _ahead_alone(ours: MethodRuns, baselines: Sequence[MethodRuns]) -> Iterator[Verdict]:
    """``small`` is three points above every other way to train it, and forgets less."""
    own, lost = ours.mean(FINAL, "small"), ours.mean("forgetting", "small")
    rivals = [found for group in baselines if (found := _rival(group, "small"))]
    if own is None or not rivals:
        return
    best = max(rivals, key=lambda rival: rival.accuracy)
    gap = own - best.accuracy
    yield Verdict(
        "small beats every other way to train the same small models",
        f"≥ {percent(AHEAD_SMALL)} points",
        f"{points(gap)} over {best}",
        gap >= AHEAD_SMALL - SLACK,
    )
    forgotten = [(r.group.mean("forgetting", "small"), r.group.name) for r in rivals]
    losses = [(loss, name) for loss, name in forgotten if loss is not None]
    if lost is None or not losses:
        return
    least, least_by = min(losses, key=lambda pair: pair[0])
    yield Verdict(
        "small forgets less than with every other way",
        f"< {percent(least)}",
        f"{percent(lost)}; the least elsewhere {percent(least)}, {least_by}",
        lost < least - SLACK,
    )


def _parts(ours: MethodRuns, parts: Sequence[MethodRuns]) -> Iterator[Verdict]:
    """Each part is worth a point."""
    for group in parts:
        for predictor in BOTH:
            own, rival = ours.mean(FINAL, predictor), _rival(group, predictor)
            if own is not None and rival:
                cost = own - rival.accuracy
                yield Verdict(
                    f"{group.name} costs {predictor}",
                    f"≥ {percent(PART)} points",
                    points(cost),
                    cost >= PART - SLACK,
                )


def _equals(ours: MethodRuns, equals: Sequence[MethodRuns]) -> Iterator[Verdict]:
    """Different architectures are within two points of the best of the equal ones."""
    for predictor in BOTH:
        own = ours.mean(FINAL, predictor)
        rivals = [found for group in equals if (found := _rival(group, predictor))]
        if own is not None and rivals:
            best = max(rivals, key=lambda rival: rival.accuracy)
            gap = own - best.accuracy
            mean = sum(rival.accuracy for rival in rivals) / len(rivals)
            yield Verdict(
                f"different architectures beside equal ones, {predictor}",
                f"≥ {percent(-EQUAL)} points",
                f"{points(gap)} to {best}; {points(own - mean)} to the mean of all equal ones",
                gap >= -EQUAL - SLACK,
            )


def _forward(ours: MethodRuns) -> Iterator[Verdict]:
    for predictor in BOTH:
        gain = ours.mean("forward_transfer", predictor)
        if gain is not None:
            yield Verdict(f"forward transfer of {predictor}", "> 0", points(gain), gain > SLACK)


def _bounds(ours: MethodRuns, bounds: Sequence[MethodRuns]) -> Iterator[Verdict]:
    """``together`` reaches joint training on own data, and nearly that on all clients' data."""
    own = ours.mean(FINAL, "together")
    for group in bounds:
        for predictor in group.method.reads:
            rival = _rival(group, predictor)
            if own is None or rival is None or rival.accuracy == 0.0:
                continue
            if group.history == "own":
                gap = own - rival.accuracy
                yield Verdict(
                    f"together reaches {group.name}, {predictor}",
                    f"≥ {percent(0.0)} points",
                    f"{points(gap)} to {rival}",
                    gap >= -SLACK,
                )
            elif group.history == "pooled":
                share = own / rival.accuracy
                yield Verdict(
                    f"together against {group.name}, {predictor}",
                    f"≥ {percent(SHARE_OF_POOLED)} %",
                    f"{percent(share)} % of {rival}",
                    share >= SHARE_OF_POOLED - SLACK,
                )


def _with_role(groups: Sequence[MethodRuns], role: str) -> list[MethodRuns]:
    return [group for group in groups if group.method.role == role]


def _rival(group: MethodRuns, predictor: str) -> Rival | None:
    """Return a method with one of its predictors, None where that does not speak for it."""
    accuracy = group.mean(FINAL, predictor) if predictor in group.method.reads else None
    return None if accuracy is None else Rival(group, predictor, accuracy)


def _best(group: MethodRuns) -> Rival | None:
    rivals = [found for p in group.method.reads if (found := _rival(group, p))]
    return max(rivals, key=lambda rival: rival.accuracy, default=None)


def points(difference: float) -> str:
    """Return a difference of accuracies in percentage points, with its sign."""
    return percent(difference, signed=True)


def p_in_words(test: Test) -> str:
    """Return a p value as people write it."""
    if test.p is None:
        return f"too few pairs for a p ({test.pairs})"
    return "p < 0.001" if test.p < 0.001 else f"p = {test.p:.3f}"
