"""Figures of an evaluation in the card of the model: a section, `model-index`, and `.eval_results/`.

`model-index` (the YAML at the top of the card) holds the main figures of any run. The Hub's leaderboards read
`.eval_results/*.yaml`, one value for each benchmark: a dataset on the Hub with an `eval.yaml`, once the Hub lists it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from her_hf.durable import digest, replace_text
from her_hf.hub.card_layout import hub_id
from her_hf.hub.front_matter import joined_card, split_card, title_of
from her_hf.hub.listing import EVAL_RESULTS
from her_hf.runs.report.headline import SHARES, TITLES, facts, headline
from her_hf.runs.report.markdown import escape, table
from her_hf.scoring.coser_dimensions import DIMENSIONS
from her_hf.scoring.minimax import PILLARS

Results = Mapping[str, Any]

METRICS = {"coser": "coser_gca", "minimax": "minimax_rpb", "form": "dual_layer", "reward": "accuracy"}
"""The metric's id of each evaluation, as in `evaluate`."""

_PATH = re.compile(r"(?<![\w:/.-])(?:[A-Za-z]:)?[/\\](?:[\w.-]+[/\\])+([\w.-]+)")


def card_of(folder: Path) -> Path:
    """The model card of a checkpoint.

    Raises:
        `FileNotFoundError`: If the folder has no card.
    """
    card = folder / "README.md"
    if not card.is_file():
        raise FileNotFoundError(
            f"{folder} has no model card (README.md) to write figures into: name the folder of a checkpoint"
        )
    return card


def replace_section(card: Path, mark: str, text: str) -> None:
    """Puts a section between its marks in a card, at the end if they are not there yet."""
    begin, end = f"<!-- {mark}: begin -->", f"<!-- {mark}: end -->"
    section = f"{begin}\n\n{text}\n\n{end}"
    known = card.read_text(encoding="utf-8")
    if begin in known and end in known:
        replace_text(card, known.partition(begin)[0] + section + known.partition(end)[2])
    else:
        replace_text(card, f"{known.rstrip()}\n\n{section}\n")


def write_section(folder: Path, results: Results) -> Path:
    """Writes the main figures of a run, with their intervals and settings, into the card; earlier ones are replaced.

    Args:
        folder (`Path`): A checkpoint with its card.
        results (`Mapping`): Contents of `results.json`.

    Returns:
        `Path`: The card.

    Raises:
        `FileNotFoundError`: If the folder has no card.
        `ValueError`: If the run has no figures.
    """
    card, name = card_of(folder), results["evaluation"]
    _numbers(results)
    rows = [(escape(one.name), one.value, one.interval or "–", escape(one.of)) for one in headline(results)]
    said = table(["figure", "value", "95% interval", "over"], rows)
    how = "\n".join(f"- {name}: {escape(_public(value))}" for name, value in facts(results))
    replace_section(card, f"her-hf eval {name}", f"## {TITLES[name]}\n\nBy `her-hf eval {name}`.\n\n{said}\n\n{how}")
    return card


def write_figures(folder: Path, results: Results, dataset: str | None = None) -> list[Path]:
    """Writes the main figures of a run with their settings into `model-index`, and the first into `.eval_results/`.

    An earlier entry of the same evaluation on the same data with the same settings is replaced, others stay.

    Args:
        folder (`Path`): A checkpoint with its card.
        results (`Mapping`): Contents of `results.json`.
        dataset (`str`, *optional*): Hub id of the data, if the run had them from a folder or file. Without an id there
            is nothing to write into `.eval_results/`.

    Returns:
        `list[Path]`: The files that were written.

    Raises:
        `FileNotFoundError`: If the folder has no card.
        `ValueError`: If the run has no figures, or the card or the file in `.eval_results/` cannot be read.
    """
    card = card_of(folder)
    data = results["settings"].get("data") or {}
    source = dataset or hub_id(str(data.get("source") or ""))
    entry = _index_entry(results, source)
    front, body = split_card(card.read_text(encoding="utf-8"), str(card))
    index = front.get("model-index") or [{"name": title_of(body, str(card)) or folder.name, "results": []}]
    if not isinstance(index, list) or not all(isinstance(one, dict) for one in index):
        raise ValueError(f"{card}: model-index must be a list of mappings, got {type(index).__name__}")
    index[0]["results"] = [*(one for one in index[0].get("results") or () if _key(one) != _key(entry)), entry]
    replace_text(card, joined_card({**front, "model-index": index}, body))
    return [card, *([_write_entry(folder, results, source)] if source else [])]


def _index_entry(results: Results, source: str | None) -> dict[str, Any]:
    """What `model-index` says of a run."""
    from huggingface_hub import EvalResult
    from huggingface_hub.repocard_data import eval_results_to_model_index

    name = results["evaluation"]
    data = results["settings"].get("data") or {}
    known = source or Path(str(data.get("source") or "not recorded")).name
    found = [
        EvalResult(
            task_type="text-generation",
            task_name=TITLES[name],
            dataset_type=known,
            dataset_name=known.rpartition("/")[2],
            dataset_split=data.get("split"),
            dataset_args={"count": data["count"], "digest": data["digest"][:16]} if data else None,
            metric_type=METRICS[name],
            metric_name=figure,
            metric_value=round(value, 4),
            metric_args=_settings(results) | ({"interval_95": [round(end, 4) for end in ends]} if ends else {}),
        )
        for figure, (value, ends) in _numbers(results).items()
    ]
    entry: dict[str, Any] = eval_results_to_model_index("", found)[0]["results"][0]
    return entry


def _write_entry(folder: Path, results: Results, source: str) -> Path:
    """Writes the main figure into `.eval_results/`; entries of other data and tasks stay."""
    from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml

    name = results["evaluation"]
    figure, (value, _) = next(iter(_numbers(results).items()))
    said = "; ".join(f"{key}: {text}" for key, text in _settings(results).items())
    entry = EvalResultEntry(source, name, round(value, 4), notes=f"{figure}; {said}")
    (new,) = eval_result_entries_to_yaml([entry])
    file = folder / EVAL_RESULTS / f"{name}.yaml"
    file.parent.mkdir(exist_ok=True)
    try:
        known = yaml.safe_load(file.read_text(encoding="utf-8")) if file.is_file() else []
        others = [one for one in known or () if (one["dataset"]["id"], one["dataset"]["task_id"]) != (source, name)]
    except (yaml.YAMLError, KeyError, TypeError) as error:
        raise ValueError(f"{file} must be a list of results with dataset and value: correct or delete it") from error
    replace_text(file, yaml.safe_dump([*others, new], sort_keys=False, allow_unicode=True, width=119))
    return file


def _numbers(results: Results) -> dict[str, tuple[float, list[float] | None]]:
    """The main figures with their intervals, the overall one first.

    Raises:
        `ValueError`: If nothing was measured.
    """
    name, figures, ends = results["evaluation"], results["figures"] or {}, results["intervals"] or {}
    if name == "coser":
        scores = figures.get("scores") or {}
        found = {code: (scores.get(code), ends.get(code)) for code in ("avg", *DIMENSIONS)}
    elif name == "minimax":
        scores = figures.get("scores") or {}
        pillars, around = scores.get("pillars") or {}, ends.get("pillars") or {}
        found = {"overall": (scores.get("overall"), ends.get("overall"))}
        found |= {pillar: (pillars.get(pillar), around.get(pillar)) for pillar in PILLARS}
    else:
        names = list(SHARES) if name == "form" else ["accuracy", "half_credit", "position_consistency"]
        found = {one: (figures.get(one), ends.get(one)) for one in names}
    measured = {one: (float(value), around) for one, (value, around) in found.items() if value is not None}
    if not measured:
        raise ValueError(f"the run of her-hf eval {name} has no figures to write into a card: see its report")
    return measured


def _settings(results: Results) -> dict[str, Any]:
    """Settings that a figure cannot be read without, as text, and a digest of all."""
    said = {key: _public(text) for key, text in facts(results) if key in ("judge", "setting", "missing")}
    return {**said, "settings": digest(results["settings"])[:16]}


def _key(entry: Mapping[str, Any]) -> tuple[Any, ...]:
    """What identifies a result: metric, data and settings."""
    data, metrics = entry.get("dataset") or {}, entry.get("metrics") or [{}]
    args = metrics[0].get("args") or {}
    return metrics[0].get("type"), data.get("type"), data.get("split"), data.get("args"), args.get("settings")


def _public(text: str) -> str:
    """A text without the folders of a path of this machine."""
    return _PATH.sub(r"\1", text)
