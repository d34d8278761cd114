"""What each study trains and compares."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Literal, get_args

from hemogat.config import GraphConfig, HeadConfig, Recipe, SettingsT
from hemogat.errors import ConfigError
from hemogat.training.study_record import StudyKind

Asked = Literal["inductive", "transductive"]
NO_GRAPH = "no_graph"


@dataclass(frozen=True)
class Variant:
    """One head to train, and the rows of the study that it answers: name to kind of graph."""

    name: str
    head: HeadConfig
    graph: GraphConfig
    rows: dict[str, Asked]


@dataclass(frozen=True)
class Plan:
    """What to train; other rows are compared with ``reference``, seed by seed.

    ``pairs``: further rows to compare, the first minus the second.
    """

    variants: tuple[Variant, ...]
    reference: str | None
    pairs: tuple[tuple[str, str], ...] = ()


def plan_study(kind: StudyKind, recipe: Recipe, max_k: int) -> Plan:
    """Return what a study trains, everything else as in the recipe.

    ``topk``: every ``k_audio`` and ``k_text`` from 1 to ``max_k`` (the paper's Figure 4).
    ``modules``: full, without graph and without CMT, each with both modalities and with either
    (Table 4). ``gnn``: GAT, GCN and GraphSAGE (Table 5). ``depth``: one to four layers (Table 6).
    ``graph``: no graph, the split's own (transductive), the bank's, and the bank's with labels in
    the messages.

    Raises:
        ConfigError: the recipe's head has no graph, or not both modalities where the study needs
            them.
    """
    head, graph = recipe.head, recipe.graph
    if kind != "modules" and head.modules == "no_gnn":
        raise ConfigError("head.modules is no_gnn: this study needs a graph; use full or no_cmt")
    if kind in ("topk", "modules") and head.modalities != "both":
        raise ConfigError(f"head.modalities is {head.modalities}: this study needs both")
    if kind == "topk":
        return _topk(head, graph, max_k)
    if kind == "modules":
        return _modules(head, graph)
    if kind == "graph":
        return _graph(head, graph)
    if kind == "gnn":
        return Plan(tuple(_variant(v, _with(head, gnn=v), graph) for v in _values("gnn")), "gat")
    depths = {f"layers_{n}": _with(head, num_layers=n) for n in range(1, 5)}
    return Plan(tuple(_variant(name, changed, graph) for name, changed in depths.items()), None)


def _topk(head: HeadConfig, graph: GraphConfig, max_k: int) -> Plan:
    ks = range(1, max_k + 1)
    return Plan(
        tuple(
            _variant(f"k_audio_{a}_k_text_{t}", head, _with(graph, k_audio=a, k_text=t))
            for a, t in product(ks, ks)
        ),
        None,
    )


def _modules(head: HeadConfig, graph: GraphConfig) -> Plan:
    heads = {}
    for modules, modalities in product(_values("modules"), _values("modalities")):
        changes: dict[str, object] = {"modules": modules, "modalities": modalities}
        if modalities != "both":
            changes["modality_dropout"] = 0.0
        heads[module_row(modules, modalities)] = _with(head, **changes)
    variants = tuple(_variant(name, changed, graph) for name, changed in heads.items())
    return Plan(variants, module_row("full", "both"))


def module_row(modules: str, modalities: str) -> str:
    """Return the name of a cell of Table 4: full, no_gnn, no_gnn_text."""
    return modules if modalities == "both" else f"{modules}_{modalities}"


def _graph(head: HeadConfig, graph: GraphConfig) -> Plan:
    silent = _with(graph, labels=False)
    return Plan(
        (
            _variant(NO_GRAPH, _with(head, modules="no_gnn"), silent),
            Variant("bank", head, silent, {"transductive": "transductive", "bank": "inductive"}),
            _variant("bank_with_labels", head, _with(graph, labels=True)),
        ),
        NO_GRAPH,
        (("bank", "transductive"), ("bank_with_labels", "bank")),
    )


def _variant(name: str, head: HeadConfig, graph: GraphConfig) -> Variant:
    return Variant(name, head, graph, {name: "inductive"})


def _values(field: str) -> tuple[str, ...]:
    """Return the values that a field of the head's configuration takes."""
    return get_args(HeadConfig.model_fields[field].annotation)


def _with(settings: SettingsT, **changes: object) -> SettingsT:
    return settings.model_validate(settings.model_dump() | changes)
