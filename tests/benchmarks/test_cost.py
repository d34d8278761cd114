from __future__ import annotations

import pytest
import torch
from torch import nn

from hemogat.benchmarks.cost import VariantCost, variant_costs
from hemogat.model.macs import count_macs

# The paper's Table 5: total "FLOPs" in G (multiply-accumulates) by nodes of the test graph.
TABLE_5 = {
    551: {"gat": 24.17, "sage": 21.26, "gcn": 20.68},
    2610: {"gat": 47.93, "sage": 34.23, "gcn": 31.49},
}


@pytest.fixture(scope="module", params=sorted(TABLE_5))
def costs(request: pytest.FixtureRequest) -> dict[str, VariantCost]:
    return {cost.gnn: cost for cost in variant_costs(nodes=request.param)}


def test_parameters_are_table_5s(costs: dict[str, VariantCost]) -> None:
    million = {gnn: cost.head_params / 1e6 for gnn, cost in costs.items()}
    assert million == {
        "gat": pytest.approx(11.57, abs=0.005),
        "sage": pytest.approx(6.31, abs=0.005),
        "gcn": pytest.approx(5.26, abs=0.005),
    }
    assert million["gat"] - million["gcn"] == pytest.approx(6.31, abs=0.01)
    assert million["sage"] - million["gcn"] == pytest.approx(1.05, abs=0.01)


def test_totals_are_table_5s(costs: dict[str, VariantCost]) -> None:
    for gnn, cost in costs.items():
        published = TABLE_5[cost.nodes][gnn] * 1e9
        assert cost.total_macs == pytest.approx(published, rel=0.015)
        assert cost.total_macs_without_attention_products == pytest.approx(published, rel=0.005)


def test_the_head_costs_the_same_per_node_of_any_graph(costs: dict[str, VariantCost]) -> None:
    for cost in costs.values():
        assert cost.total_macs == cost.encoder_macs + cost.nodes * cost.head_macs_per_node


def test_only_the_search_grows_with_the_bank() -> None:
    small, large = (variant_costs(nodes=2, bank_rows=rows)[0] for rows in (1000, 3000))
    assert large.inductive_macs - small.inductive_macs == 2000 * (768 + 768)
    assert small.inductive_macs == (
        small.encoder_macs + small.head_macs_per_node + 1000 * (768 + 768)
    )


def test_counts_multiply_accumulates() -> None:
    with torch.device("meta"):
        linear, conv = nn.Linear(7, 5), nn.Conv1d(2, 3, 4)
        assert sum(count_macs(lambda: linear(torch.empty(11, 7))).values()) == 11 * 7 * 5
        assert sum(count_macs(lambda: conv(torch.empty(1, 2, 10))).values()) == 7 * 2 * 3 * 4
